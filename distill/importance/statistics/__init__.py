"""What follows from values per request and layer. Numbers only, no network."""
