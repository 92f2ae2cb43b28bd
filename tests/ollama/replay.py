"""The recorded answers of two real servers, given again: ../shared/ollama-transcripts.

A request is answered with the bytes that were recorded for it, and any other is refused, so a
test that passes has sent what a real server took and read what a real server said.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.ollama.loopback import Loopback, Reply, Seen

RECORDED = Path(__file__).parents[3] / "shared" / "ollama-transcripts"
VERSIONS = ("0.24.0", "0.32.15")
REFUSED = 599

DEFAULTS = {"stream": True, "insecure": False, "verbose": False}
"""What a server takes an absent field for. Saying so is not another request."""

Key = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer."""

    method: str
    path: str
    json: Any
    """None where the request has no JSON."""
    body: str | None
    """What was sent instead of JSON; None where it was left out of the recording."""
    status: int
    headers: dict[str, str]
    pieces: tuple[bytes, ...]
    """The answer: its lines, each with its newline, or the body as one piece, or nothing."""

    @property
    def sent(self) -> bytes:
        """The body of the request; JSON in a form of our own."""
        return (self.body or "").encode() if self.json is None else json.dumps(self.json).encode()

    @property
    def answer(self) -> bytes:
        """The body of the answer."""
        return b"".join(self.pieces)

    @property
    def parsed(self) -> Any:
        """The answer's JSON; of a stream a list."""
        if self.chunked_lines:
            return [json.loads(line) for line in self.pieces]
        return json.loads(self.answer)

    @property
    def chunked_lines(self) -> bool:
        """Whether it was a stream of lines."""
        return "ndjson" in self.headers.get("content-type", "")

    @property
    def key(self) -> Key:
        """What a request must be equal in to get this answer."""
        if self.json is None and self.body is None:
            return self.method, self.path, None
        return self.method, self.path, canonical(self.json, self.sent)


@dataclass(frozen=True, slots=True)
class Case:
    """One file: exchanges in order, and what the prompts were made of."""

    name: str
    about: str
    server: str
    exchanges: tuple[Exchange, ...]
    candidates: tuple[int, ...] = ()
    """Rows of items.csv in the order A, B, C …; empty where nothing was offered."""
    history: tuple[int, ...] = ()
    target: int | None = None
    user: str = ""
    rotations: tuple[int, ...] = ()
    prompt_words: int = 0


class Replay(Loopback):
    """A server of one version that knows what was recorded, and nothing else.

    Several recordings of one request come in their order, by file (in the order of `only`, else
    by name) and inside of it; the last one is repeated. Where it matters which file answers,
    name it in `only`.
    """

    def __init__(self, version: str, only: Sequence[str] = ()) -> None:
        super().__init__()
        known = cases(version)
        self.refused: list[Seen] = []
        """What was asked and never recorded."""
        self._kept: defaultdict[Key, list[tuple[str, Exchange]]] = defaultdict(list)
        self._asked: Counter[Key] = Counter()
        self._lock = threading.Lock()
        for name in only or known:
            for one in known[name].exchanges:
                self._kept[one.key].append((name, one))

    def answer(self, asked: Seen, reply: Reply) -> None:
        """Give the recorded answer, in the recorded pieces."""
        one = self._next(asked)
        if one is None:
            self.refused.append(asked)
            return reply.json(REFUSED, {"error": f"not recorded: {self._unlike(asked)}"})
        headers = dict(one.headers)
        chunked = headers.pop("transfer-encoding", "") == "chunked"
        if asked.method != "HEAD":
            headers.pop("content-length", None)  # of what was said, not of what was written down
        if not one.chunked_lines:
            return reply.whole(one.status, one.answer, headers, chunked=chunked)
        reply.start(one.status, headers)
        for piece in one.pieces:
            reply.chunk(piece)
        return reply.end()

    def _next(self, asked: Seen) -> Exchange | None:
        exact = (asked.method, asked.path, canonical(asked.json, asked.body))
        key: Key = exact if exact in self._kept else (asked.method, asked.path, None)
        if key not in self._kept:
            return None
        with self._lock:
            number = self._asked[key]
            self._asked[key] += 1
        return self._kept[key][min(number, len(self._kept[key]) - 1)][1]

    def _unlike(self, asked: Seen) -> str:
        """Say what was asked, and in which fields the nearest recording differs."""
        said = f"{asked.method} {asked.path}"
        sent = tidy(asked.json) if isinstance(asked.json, dict) else {}
        near = [
            (sorted(k for k in {**sent, **was} if sent.get(k) != was.get(k)), name)
            for rows in self._kept.values()
            for name, one in rows
            if (one.method, one.path) == (asked.method, asked.path) and isinstance(one.json, dict)
            for was in [tidy(one.json)]
        ]
        if not near:
            return said
        fields, name = min(near, key=lambda one: (len(one[0]), one[1]))
        return f"{said}; {name!r} differs in {', '.join(fields)}"


@cache
def cases(version: str) -> dict[str, Case]:
    """Read the recordings of a server, by name; skips where they are not beside the checkout.

    `.ci/run` does not begin without them, so a skip cannot hide there.
    """
    if not (RECORDED / version).is_dir():
        reason = f"the recorded answers are not beside the checkout (../shared/{RECORDED.name})"
        pytest.skip(reason, allow_module_level=True)
    return {path.stem: _case(json.loads(path.read_text())) for path in _files(version)}


def canonical(found: Any, body: bytes) -> str:
    """Return one text for all ways to write a request.

    >>> canonical({"model": "m", "stream": True, "options": {"top_p": 1.0, "seed": None}}, b"")
    '{"model": "m", "options": {"top_p": 1}}'
    >>> canonical(None, b"{")
    '{'
    """
    if found is None:
        return body.decode("utf-8", "replace")
    return json.dumps(tidy(found) if isinstance(found, dict) else found, sort_keys=True)


def tidy(found: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what says a default, and write whole numbers without a point."""
    kept = {name: _plain(one) for name, one in found.items() if one is not None}
    return {name: one for name, one in kept.items() if DEFAULTS.get(name) is not one}


def _plain(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _plain(one) for name, one in found.items() if one is not None}
    if isinstance(found, list):
        return [_plain(one) for one in found]
    return int(found) if isinstance(found, float) and found.is_integer() else found


def _files(version: str) -> list[Path]:
    return sorted((RECORDED / version).glob("*.json"), key=lambda path: path.stem)


def _case(found: dict[str, Any]) -> Case:
    return Case(
        name=found["name"],
        about=found["about"],
        server=found["server"],
        exchanges=tuple(_exchange(one["request"], one["response"]) for one in found["exchanges"]),
        candidates=tuple(found.get("candidates", ())),
        history=tuple(found.get("history", ())),
        target=found.get("target"),
        user=found.get("user", ""),
        rotations=tuple(found.get("rotations", ())),
        prompt_words=found.get("prompt_words", 0),
    )


def _exchange(request: dict[str, Any], response: dict[str, Any]) -> Exchange:
    if "lines" in response:
        pieces = tuple(f"{line}\n".encode() for line in response["lines"])
    else:
        pieces = (response["body"].encode(),) if response["body"] else ()
    return Exchange(
        method=request["method"],
        path=request["path"],
        json=request.get("json"),
        body=request.get("body"),
        status=response["status"],
        headers=response["headers"],
        pieces=pieces,
    )
