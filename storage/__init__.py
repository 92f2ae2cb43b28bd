"""Remembers: catalogue, log, soft labels, profiles, runs, measurements and artifacts."""
