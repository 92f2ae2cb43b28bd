"""One file a screen. A screen asks, follows and shows; it ranks, trains and fetches nothing."""
