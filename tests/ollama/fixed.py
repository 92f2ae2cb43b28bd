"""A server with no model: one constant answer after a fixed time, for measuring a client."""

from __future__ import annotations

import math
import time
from typing import Any

from tests.ollama.chat_templates import template_of
from tests.ollama.loopback import JSON, Loopback, Reply, Seen, Slots, dumped

NAME = "fixed:latest"
DIGEST = "f1" * 32
CONTEXT = 8192
BYTES_PER_TOKEN = 4
COUNTED = 987654321
"""Stands in the answer for the tokens of the prompt."""

PROBABILITIES = (
    *((" D", 0.1454), (" A", 0.1432), (" E", 0.1257), (" J", 0.0890), (" C", 0.0742)),
    *((" I", 0.0717), ("\n", 0.0579), (" ", 0.0495), (" B", 0.0412), (" F", 0.0195)),
    *((" H", 0.0145), (" K", 0.0100), (" Y", 0.0082), (" G", 0.0060), (" (", 0.0050)),
    *((" T", 0.0041), (" R", 0.0038), (" S", 0.0034), (' "', 0.0033), ("", 0.0030)),
)
"""Of `score-letters`, as 0.32.15 gave it."""


class FixedServer(Loopback):
    """A server at `url` that takes `answer_seconds` for an answer, and `slots` at once.

    `slots.over_time` tells how many were under way at which second, `slots.most` the most of
    them. Its model is `fixed:latest`, with the chatml template.
    """

    def __init__(self, answer_seconds: float = 0.05, slots: int = 4) -> None:
        super().__init__()
        self.answer_seconds = answer_seconds
        self.slots = Slots(slots)
        self._before, self._after = _answer().split(b"%d" % COUNTED)

    @property
    def in_flight(self) -> list[tuple[float, int]]:
        """(seconds since the start, requests under way) at every change."""
        return list(self.slots.over_time)

    def answer(self, asked: Seen, reply: Reply) -> None:
        """Answer one request."""
        fields = asked.json if isinstance(asked.json, dict) else {}
        if asked.path == "/api/generate" and fields.get("prompt"):
            counted = max(1, len(asked.body) // BYTES_PER_TOKEN)
            with self.slots.taken(reply):
                time.sleep(self.answer_seconds)
            body = b"%b%d%b" % (self._before, counted, self._after)
            return reply.whole(200, body, {"content-type": JSON}, chunked=False)
        if asked.path == "/api/chat" and fields.get("_debug_render_only"):
            return reply.json(200, _rendered(fields))
        found = _FOUND.get(asked.path)
        if found is None:
            return reply.whole(404, b"404 page not found", {"content-type": "text/plain"})
        return reply.json(200, found)


def _answer() -> bytes:
    """Return the answer, with `COUNTED` where the prompt's tokens are counted."""
    top = [
        {"token": token, "logprob": math.log(p)}
        | ({"bytes": list(token.encode())} if token else {})
        for token, p in PROBABILITIES
    ]
    return dumped(
        {
            "model": NAME,
            "created_at": "2026-11-23T09:16:51.377150864Z",
            "response": top[0]["token"],
            "done": True,
            "done_reason": "length",
            "prompt_eval_count": COUNTED,
            "eval_count": 1,
            "logprobs": [{**top[0], "top_logprobs": top}],
        }
    )


def _rendered(fields: dict[str, Any]) -> dict[str, Any]:
    messages = [(one["role"], one["content"]) for one in fields["messages"]]
    text = template_of("chatml").render(messages, None)
    return {"model": NAME, "done": False, "_debug_info": {"rendered_template": text}}


_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "134.52M",
    "quantization_level": "Q4_1",
}
_LISTED = {
    "name": NAME,
    "model": NAME,
    "modified_at": "2026-11-23T09:16:38.178015323Z",
    "size": 98362745,
    "digest": DIGEST,
    "details": _DETAILS,
}
_FOUND: dict[str, Any] = {
    "/api/version": {"version": "0.32.15"},
    "/api/tags": {"models": [{**_LISTED, "capabilities": ["completion"]}]},
    "/api/ps": {"models": [{**_LISTED, "size_vram": 0, "context_length": CONTEXT}]},
    "/api/show": {
        "modelfile": f"FROM {NAME}\n",
        "template": template_of("chatml").text,
        "details": _DETAILS,
        "model_info": {
            "general.architecture": "llama",
            "llama.block_count": 30,
            "llama.context_length": CONTEXT,
            "llama.embedding_length": 576,
        },
        "capabilities": ["completion"],
        "modified_at": "2026-11-23T09:16:38.178015323Z",
    },
    "/api/generate": {"model": NAME, "response": "", "done": True, "done_reason": "load"},
}
