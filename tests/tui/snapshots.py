"""A screen as SVG held against the one that was looked at and kept.

`pytest tests/tui --snapshot-update` keeps what is drawn now; look at it before committing.
"""

from __future__ import annotations

import re
from pathlib import Path

from textual.app import App

KEPT = Path(__file__).parent / "snapshots"
_LETTERS = re.compile(r"<text[^>]*>([^<]*)</text>")


def assert_looks_the_same(app: App[None], name: str, *, update: bool) -> None:
    """Compare the screen with the kept one of that name, character by character and in colour."""
    drawn = app.export_screenshot(title=name)
    kept = KEPT / f"{name}.svg"
    if update:
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(drawn, encoding="utf-8")
        return
    assert kept.exists(), f"no snapshot {name!r}: pytest tests/tui --snapshot-update"
    before = kept.read_text(encoding="utf-8")
    if drawn != before:
        Path(f"{name}.drawn.svg").write_text(drawn, encoding="utf-8")
        words, kept_words = _words(drawn), _words(before)
        differ = [pair for pair in zip(words, kept_words, strict=False) if pair[0] != pair[1]]
        assert not differ, f"{name}: {differ}"
        raise AssertionError(f"{name}: the same words, drawn differently: see {name}.drawn.svg")


def _words(svg: str) -> list[str]:
    return [text.replace("&#160;", " ").strip() for text in _LETTERS.findall(svg)]
