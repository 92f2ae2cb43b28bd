"""SASRec here beside RecBole 1.2.1's: how long until the best validation, on the same data."""
