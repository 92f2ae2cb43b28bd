"""One ranker in a process of its own, asked by lines of JSON: what a column of the TUI shows.

Apart from `api`, which answers in the caller's process, because a ranker that loads torch holds
the interpreter for seconds, and because one that hangs can be ended without harm to the others.
"""
