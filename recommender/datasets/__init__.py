"""Where data comes from: one loader per source, cleaning, the synthetic sample."""
