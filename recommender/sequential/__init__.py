"""Sequential students: the networks, and the ranker that serves them without torch."""
