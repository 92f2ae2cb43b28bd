"""What a model of an Ollama server may be called: [host/][namespace/]model[:tag].

The rules are the server's own (`types/model/name.go`), so that a name is refused before a job
is made of it, and none is refused that the server would take.
"""

from __future__ import annotations

import re

from storage.errors import BadSetting

EXAMPLE = "e.g. llama3.1:8b"
SHOWN = 60
"""Characters of a wrong name that are repeated."""
_LETTERS = r"[A-Za-z0-9_]"
_HOST = re.compile(rf"{_LETTERS}[A-Za-z0-9_.:-]{{0,349}}")
_NAMESPACE = re.compile(rf"{_LETTERS}[A-Za-z0-9_-]{{0,79}}")
_MODEL = re.compile(rf"{_LETTERS}[A-Za-z0-9_.-]{{0,79}}")
_SCHEMES = ("https://", "http://")


def model_name(typed: str) -> str:
    """Return the name somebody typed, without what was pasted along.

    Raises:
        BadSetting: no model can be called that, and which part of it cannot.

    >>> model_name(" ollama pull hf.co/org/some-model:Q4_K_M ")
    'hf.co/org/some-model:Q4_K_M'
    >>> model_name("¡")
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: '¡' is no name of a model: it has letters, digits and . _ - \
and begins with a letter or digit; next: e.g. llama3.1:8b
    """
    name = typed.strip().removeprefix("ollama pull ").strip()
    wrong = _wrong(name)
    if wrong:
        shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
        raise BadSetting(f"{shown!r} is no name of a model: {wrong}", next_step=EXAMPLE)
    return name


def _wrong(name: str) -> str:
    """Return what no server would take about a name; nothing where it would."""
    if not name:
        return "it is empty"
    for scheme in _SCHEMES:
        name = name.removeprefix(scheme)
    *before, last = name.split("/")
    model, colon, tag = last.partition(":")
    rule = "letters, digits and {} and begins with a letter or digit"
    if len(before) > 2:
        return "it has more parts than host/namespace/model:tag"
    if len(before) == 2 and not _HOST.fullmatch(before[0]):
        return f"its host {before[0]!r} is none"
    if before and not _NAMESPACE.fullmatch(before[-1]):
        return f"a namespace has {rule.format('_ -')}"
    if not _MODEL.fullmatch(model):
        return f"it has {rule.format('. _ -')}"
    if colon and not _MODEL.fullmatch(tag):
        return f"a tag has {rule.format('. _ -')}"
    return ""
