"""Long work in processes that outlive whoever started them, found again by what they wrote.

Apart from the work itself, which is a generator of events whoever runs it, because here somebody
closes a window, or a machine goes down, and afterwards wants to know what became of it.
"""
