"""The way back: students and adapted teachers as files that other programs open."""
