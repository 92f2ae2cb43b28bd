"""Studies: arms × data × seeds, from one file to one table with paired intervals."""
