"""Foreign text made clean: what a title may contain before anything reads it.

Titles, descriptions and reviews come from web pages and strangers. They are shown on
terminals and put into prompts, so nothing in them may be markup, move a cursor, reverse the
reading direction or hide. Apart from `prepare` because this is about characters, that about
numbers.
"""

from __future__ import annotations

import html
import re

TITLE_LIMIT = 1_000
TEXT_LIMIT = 4_000
"""Characters kept of a description or a review."""
ID_LIMIT = 256

_ROUNDS = 8
_INLINE = "abbr|acronym|a|big|b|code|del|em|font|ins|i|label|mark|q|small|span|strike|strong"
_INLINE += "|sub|sup|s|tt|u|wbr"
_BLOCK = "address|article|aside|audio|blockquote|body|br|button|canvas|caption|center|col"
_BLOCK += "|colgroup|dd|div|dl|dt|embed|fieldset|figcaption|figure|footer|form|frame|h[1-6]"
_BLOCK += "|header|head|hr|html|iframe|img|input|link|li|main|map|meta|nav|noscript|object|ol"
_BLOCK += "|option|param|picture|pre|p|script|section|select|source|style|svg|table|tbody|td"
_BLOCK += "|textarea|tfoot|thead|th|title|tr|ul|video"

# Only names of HTML elements count: "<Untitled>" and "I <3 U" are titles.
_HIDDEN = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>|<!--.*?-->|<!doctype[^>]*>", re.I | re.S)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE})(?:\s[^<>]*|\s*/)?>", re.I)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCK})(?:\s[^<>]*|\s*/)?>", re.I)
# Terminal sequences whole, so that '\x1b[31mred' leaves 'red' and not '[31mred'.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]?"
)
_SPACE = re.compile(r"\s+")
# Control, bidi, zero-width and other invisible characters, blank letters, tag and private
# characters, lone surrogates, noncharacters. Variation selectors 15 and 16 belong to emoji.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ue000-\uf8ff"
    "\ufdd0-\ufdef\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffc\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
# A joiner is part of an emoji or of a word of some scripts only between two such characters.
_JOINER = re.compile(
    "(?<![^\x00-\x7f\u200c\u200d\\s])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f\u200c\u200d\\s])"
)
_NO_MARKUP = str.maketrans("<>&", "   ")


def clean_text(text: str, limit: int = TITLE_LIMIT) -> str:
    """Return one line of plain text, at most `limit` characters; cleaning it again is no change.

    HTML elements and entities, terminal sequences, control and invisible characters go; runs
    of white space become one space.

    >>> clean_text("Tom &amp; Jerry<br>\\x1b[31mRed\\x1b[0m\\u202e <b>pens</b>\\n")
    'Tom & Jerry Red pens'
    >>> clean_text("I <3 U"), clean_text("x" * 5000, limit=3)
    ('I <3 U', 'xxx')
    """
    if text.isascii() and text.isprintable() and "<" not in text and "&" not in text:
        return " ".join(text.split())[:limit].rstrip()  # nearly every text there is
    text = text[: 20 * limit]  # the work on one text is bounded, whatever it holds
    for _ in range(_ROUNDS):  # entities may hide tags, and tags entities
        cleaner = _clean_once(text, limit)
        if cleaner == text:
            return text
        text = cleaner
    while True:  # nested deeper than any honest page: no markup at all is left to be found
        cleaner = _clean_once(text.translate(_NO_MARKUP), limit)
        if cleaner == text:
            return text
        text = cleaner


def is_clean_id(text: str) -> bool:
    """Tell whether a text can be an id: not empty, printable, without blanks at its ends.

    >>> is_clean_id("A1"), is_clean_id(""), is_clean_id("A\\x1b[2J"), is_clean_id(" A1")
    (True, False, False, False)
    """
    return 0 < len(text) <= ID_LIMIT and text.isprintable() and text == text.strip()


def _clean_once(text: str, limit: int) -> str:
    text = _ESCAPE.sub("", text)
    text = html.unescape(_HIDDEN.sub(" ", text))
    text = _BLOCK_TAG.sub(" ", _INLINE_TAG.sub("", text))
    text = _JOINER.sub("", _UNSEEN.sub("", text))
    return _SPACE.sub(" ", text).strip()[:limit].rstrip()
