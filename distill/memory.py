"""How much memory this process had at most."""

from __future__ import annotations

import sys


def peak_bytes() -> int | None:
    """Return the most memory the process ever had, or None where the system does not say.

    >>> (peak_bytes() or 1) > 0
    True
    """
    try:
        # Deferred: Windows has none.
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
