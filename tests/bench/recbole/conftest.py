"""RecBole is not in the environment of the tests."""

from __future__ import annotations

collect_ignore = ["theirs.py"]
