"""Learns: layer importance of a teacher's weights, and students trained from it."""
