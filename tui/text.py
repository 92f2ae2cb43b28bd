"""Foreign text made safe to show, at the edge and whatever was cleaned before.

Titles, ids, names of files and answers of models come from outside. Nothing in them may move
the cursor, change a colour, reverse the reading direction or count as markup.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator, Iterable, Iterator
from datetime import UTC, datetime, timedelta

REASON = 600
"""Characters of a model's reason that are shown; more is cut with '…'."""

# Escape sequences whole, so that '\\x1b[31mred' leaves 'red' and not '[31mred'. A string sequence
# without its end loses only its introducer: what follows is text once that is gone.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]?"
)
# Where one may begin, and whether what follows a beginning may still become one.
_INTRODUCER = re.compile(r"[\x1b\x90\x98\x9b\x9d-\x9f]")
_UNFINISHED = re.compile(
    r"(?:(?:\x1b\[|\x9b)[0-?]*[ -/]*"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*\x1b?"
    r"|\x1b[ -/]*)\Z"
)
_SPACE = re.compile(r"\s+")
_JOINER = "\u200d"  # holds a family emoji together; harmless
_UNSHOWN = {"Cc", "Cf", "Cs"}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LINE_ENDS = "\n\x0b\x0c\x85\u2028\u2029"
_STOPS, _WIDE_STOPS, _CLOSERS = ".!?…", "。！？", "\"'”’»)]"
_OPENERS = "\"'“‘«(¿¡"
_NO_END = {"mr.", "mrs.", "ms.", "dr.", "st.", "vs.", "no.", "vol.", "etc.", "e.g.", "i.e."}


def plain(text: str, width: int | None = None) -> str:
    """Return one line without control characters, cut to `width` characters with '…'.

    >>> plain("\\x1b[31mRed\\x1b[0m [bold]pen[/bold]\\n\\u202eset")
    'Red [bold]pen[/bold] set'
    >>> plain("a very long title", width=8)
    'a very…'
    """
    if width is not None and len(text) > 64 * width:
        text = text[: 64 * width]  # nothing beyond can be seen; scanning it costs time
    kept = (c for c in _ESCAPE.sub("", text) if c == _JOINER or c.isspace() or _shown(c))
    line = _SPACE.sub(" ", "".join(kept)).strip()
    if width is None or len(line) <= width:
        return line
    return line[: width - 1].rstrip() + "…"


def _shown(character: str) -> bool:
    return unicodedata.category(character) not in _UNSHOWN


def safe_pieces(pieces: Iterable[str], *, most: int = REASON) -> Iterator[str]:
    """Yield the first sentence of what a model writes, as it comes, safe to show.

    It is as `plain` would make it, however the pieces are cut: an escape sequence that is split
    over several is held back until it is known to be one. It ends with the first sentence, at
    an empty line, or after `most` characters with '…'; whoever writes is then stopped.

    >>> list(safe_pieces(["It fits\\x1b", "[31m the", " camera.\\n", "And more."]))
    ['It fits', ' the', ' camera.']
    >>> "".join(safe_pieces(["and on " * 200], most=12))
    'and on and…'
    """
    line, waiting = _Sentence(most), ""
    unread = 64 * most  # what never shows anything ends too
    try:
        for piece in pieces:
            waiting += piece[:unread]
            unread -= len(piece)
            settled = _settled(waiting)
            shown = line.add(_ESCAPE.sub("", waiting[:settled]))
            waiting = waiting[settled:]
            if shown:
                yield shown
            if line.ended or unread <= 0:
                break
        shown = line.add(_ESCAPE.sub("", waiting))
        if shown:
            yield shown
    finally:
        if isinstance(pieces, Generator):
            pieces.close()


class _Sentence:
    """One sentence that grows: what each piece adds to what is shown."""

    def __init__(self, most: int) -> None:
        self.ended = False
        self._room = most
        self._word = ""
        self._lines = 0
        self._gap = False

    def add(self, text: str) -> str:
        """Return what is shown of some more text, escape sequences taken out."""
        shown = []
        for character in text:
            if self.ended:
                break
            if character.isspace():
                self._space(character)
            elif character == _JOINER or _shown(character):
                shown.append(self._next(character))
        return "".join(shown)

    def _space(self, character: str) -> None:
        if self._word:
            self._gap = True
            self._lines += character in _LINE_ENDS
            stopped = _ends_sentence(self._word) and self._lines
            # What a colon announces stands behind the empty line.
            self.ended = bool(stopped or (self._lines > 1 and not self._word.endswith(":")))

    def _next(self, character: str) -> str:
        if self._gap and _ends_sentence(self._word) and _begins_sentence(character):
            self.ended = True
            return ""
        added = f" {character}" if self._gap else character
        if len(added) >= self._room:
            self.ended = True
            return "…"
        self._room -= len(added)
        self._word = character if self._gap else self._word + character
        self._gap, self._lines = False, 0
        self.ended = character in _WIDE_STOPS
        return added


def _ends_sentence(word: str) -> bool:
    """Say whether a word with its signs may be the last one of a sentence.

    >>> [word for word in ("it.", '"it."', "Dr.", "J.", "1.", "1999.") if _ends_sentence(word)]
    ['it.', '"it."', '1999.']
    """
    bare = word.rstrip(_CLOSERS).lstrip(_OPENERS)
    if not bare.endswith(tuple(_STOPS)):
        return False
    stem = bare.rstrip(_STOPS)
    short = len(stem) == 1 or (stem.isdigit() and len(stem) == 2)
    return not (bare.endswith(".") and (short or bare.lower() in _NO_END))


def _begins_sentence(character: str) -> bool:
    return not (character.islower() or character.isdigit()) and (
        character.isalpha() or character in _OPENERS
    )


def _settled(text: str) -> int:
    """Return how much of a text no more text can make part of an escape sequence.

    >>> _settled("ab\\x1b[3"), _settled("ab\\x1b[3m"), _settled("ab")
    (2, 6, 2)
    """
    for found in _INTRODUCER.finditer(text):
        if _UNFINISHED.match(text, found.start()):
            return found.start()
    return len(text)


def duration(seconds: float) -> str:
    """Return a time span at the precision a person can use.

    >>> [duration(s) for s in (0.0042, 3.27, 75, 4020)]
    ['4.2 ms', '3.3 s', '1 min 15 s', '1 h 07 min']
    """
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def day(milliseconds: int) -> str:
    """Return the day of a moment, in UTC; nothing for one that no calendar has.

    >>> day(978302109000), day(-62135596800001)
    ('2000-12-31', '')
    """
    try:
        return f"{_EPOCH + timedelta(milliseconds=milliseconds):%Y-%m-%d}"
    except OverflowError:
        return ""
