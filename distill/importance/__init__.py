"""How much each layer of a model matters, by stated criteria."""
