"""What needs no gradient: states, attention, layers left out, probes."""
