"""What a server says when it will not or cannot, made into sentences that name the next step.

Wordings differ by version: the same over-long prompt is plain text on 0.24 and JSON inside a
string on 0.32. Each rule below was seen in a recorded answer or in the server's code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from recommender.backends.errors import (
    BackendError,
    Busy,
    CannotTeach,
    ContextTooSmall,
    Died,
    ModelMissing,
    OutOfMemory,
    Refused,
    ServerDown,
)

PASSING = (429, 503, 504)
"""Statuses that pass, whoever gives them."""

_CONTEXT = (
    "exceed_context_size",
    "exceeds the context length",
    "exceeds the available context",
    "prompt is longer than the context",
)
_MEMORY = ("more system memory", "out-of-memory", "out of memory", "failed to allocate")
_DIED = (
    "unexpected eof",
    "unexpectedly stopped",
    "process has terminated",
    "no longer running",
    "connection reset",
    "forcibly closed",
    "timed out waiting for",
    ": eof",
    "connection refused",
    "actively refused",
)
_REGISTRY = ("dial tcp", "no such host", "i/o timeout", "network is unreachable")
_OURS = ("unsupported value", "must be of type", "invalid format", "invalid json schema")
"""What a server answers 500 to although the request is at fault."""
_ABSENT = re.compile(r"model [\"'](.+?)[\"'] not found|file does not exist", re.IGNORECASE)
_UNABLE = re.compile(r"(\"\S+\"|this server) does not support \w+", re.IGNORECASE)


def message_of(body: str) -> str:
    r"""Return the sentence inside an error body, however deep it is wrapped.

    >>> message_of('{"error":"{\\"error\\":{\\"message\\":\\"too long\\"}}"}')
    'too long'
    >>> message_of("plain words")
    'plain words'
    """
    text = body.strip()
    for _ in range(4):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return text
        while isinstance(found, dict):
            found = found.get("error", found.get("message", ""))
        if not isinstance(found, str):
            return text
        text = found
    return text


def error_of(status: int, body: str, *, address: str, model: str = "") -> BackendError:
    """Return the error that an answer of `status` with this body stands for.

    Args:
        status: of HTTP; 200 for an error line inside a stream.
        body: as it came.
        address: of the server, for the sentence.
        model: that was asked, for the sentence.

    >>> found = error_of(404, '{"error":"model \\'m\\' not found"}', address="http://a", model="m")
    >>> type(found).__name__, found.next_step
    ('ModelMissing', 'ollama pull m, or the same command with --pull')
    """
    if _is_page(body) and status not in PASSING:
        return proxy_in_the_way(status, address)
    said = message_of(body)
    low = said.lower()
    make = _rule(status, low)
    if make is not None:
        return make(said, address, model)
    return Refused(
        f"the Ollama server at {address} answered {status}: {_short(said)}",
        next_step="recsys doctor",
    )


def proxy_in_the_way(status: int, address: str) -> ServerDown:
    """Return the error for an answer that no Ollama server gives."""
    return ServerDown(
        f"something else than Ollama answers at {address} (status {status}): a proxy is "
        f"in the way, or the address is another program's",
        next_step="set NO_PROXY for that host, or name another with --host",
    )


Make = Callable[[str, str, str], BackendError]


def _rule(status: int, low: str) -> Make | None:
    if status in (429, 503) or "server busy" in low:
        return _busy
    if any(words in low for words in _CONTEXT):
        return _context
    if any(words in low for words in _MEMORY):
        return _memory
    if "pull model manifest" in low and any(words in low for words in _REGISTRY):
        return _registry
    if status == 404 or _ABSENT.search(low):
        return _absent
    if _UNABLE.search(low) or status == 501:
        return _unable
    if status >= 500 and not any(words in low for words in _OURS):
        return _died
    # A 400 with 'unexpected EOF' is about our own request, not about a process.
    if status in (499, 502, 504) or (status != 400 and any(words in low for words in _DIED)):
        return _died
    return None


def _busy(said: str, address: str, model: str) -> BackendError:
    return Busy(f"the Ollama server at {address} is busy: its queue is full")


def _context(said: str, address: str, model: str) -> BackendError:
    numbers = [int(n) for n in re.findall(r"\((\d+) tokens\)", said)]
    needed, given = (numbers[0], numbers[-1]) if len(numbers) == 2 else (0, 0)
    figures = f": {needed} tokens, and there is room for {given}" if needed else ""
    step = f"--num-ctx {_round_up(needed)}" if needed else "a larger --num-ctx"
    return ContextTooSmall(
        f"the prompt does not fit into the context of {model or 'the model'}{figures}",
        next_step=f"{step}, or a shorter --history-length",
        needed=needed,
        given=given,
    )


def _memory(said: str, address: str, model: str) -> BackendError:
    return OutOfMemory(
        f"{model or 'the model'} does not fit into the memory of {address}: {_short(said)}",
        next_step="a smaller or more quantised model, or a smaller --num-ctx",
    )


def _registry(said: str, address: str, model: str) -> BackendError:
    return ServerDown(
        f"the Ollama server at {address} cannot reach the registry of {model or 'the model'}: "
        f"{_short(said)}",
        next_step="let that machine reach the registry, or --teacher embedded, which needs none",
    )


def _absent(said: str, address: str, model: str) -> BackendError:
    if not model:
        return Refused(f"the server at {address} does not know this: {_short(said)}")
    return ModelMissing(
        f"the Ollama server at {address} does not have {model!r}",
        next_step=f"ollama pull {model}, or the same command with --pull",
    )


def _unable(said: str, address: str, model: str) -> BackendError:
    return CannotTeach(
        f"{model or 'the model'} cannot do what was asked: {_short(said)}",
        next_step="recsys models list",
    )


def _died(said: str, address: str, model: str) -> BackendError:
    return Died(f"the process of {model or 'the model'} at {address} ended: {_short(said)}")


def _short(said: str) -> str:
    line = " ".join(said.split())
    return line if len(line) <= 300 else line[:299] + "…"


def _round_up(tokens: int) -> int:
    """Return the next power of two with some room: what people give as a context.

    >>> _round_up(3423)
    4096
    """
    size = 512
    while size < tokens + 16:
        size *= 2
    return size


def _is_page(body: str) -> bool:
    return body.lstrip()[:15].lower().startswith(("<!doctype", "<html"))
