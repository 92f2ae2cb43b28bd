"""How much memory this process had at most: ever, or since a training began."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

_PROCESS = Path("/proc/self")
_RESET = "5"
"""What makes Linux forget the peak: see proc(5), clear_refs."""


def forget_peak() -> None:
    """Begin a new peak, where the system can (Linux); elsewhere the old one goes on.

    So one training of many in a process is not said to take what another took.
    """
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text(_RESET)


def peak_bytes() -> int | None:
    """Return the most memory the process had, or None where the system does not say.

    Since `forget_peak` on Linux, ever on others.

    >>> (peak_bytes() or 1) > 0
    True
    """
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", (_PROCESS / "status").read_text())
        if found:
            return int(found[1]) * 1024
    try:
        # Deferred: Windows has none.
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
