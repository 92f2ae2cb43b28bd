"""Ranks: data, splits, teachers, students, baselines, and how well each of them does."""
