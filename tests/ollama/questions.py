"""What a request asks for, and in which words a server refuses one: `Serving` reads it here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.ollama.answering import KEPT
from tests.ollama.chat_templates import Message, Template
from tests.ollama.faults import is_old

DEFAULT_CTX = 4096
"""On a machine with less than 23 GiB of video memory."""
MOST_PER_CTX = 10
"""`num_predict` is at most so many times num_ctx; 0 and -1 mean that many."""

_INTEGERS = (
    *("num_ctx", "num_predict", "num_keep", "num_batch", "num_gpu", "num_thread", "main_gpu"),
    *("seed", "top_k", "repeat_last_n"),
)
_FLOATS = ("temperature", "repeat_penalty", "top_p", "min_p", "typical_p")
_LOADED_WITH = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
_LEVELS = ("high", "medium", "low", "max")
_DURATION = re.compile(r"-?\d+(\.\d+)?(ns|us|ms|s|m|h)")


class Refusal(Exception):
    """A status and the sentence that comes with it."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


@dataclass(frozen=True, slots=True)
class Question:
    """A request to `/api/generate` or `/api/chat`, read and found right."""

    fields: Mapping[str, Any]
    chat: bool
    options: Mapping[str, Any]
    think: bool | str | None
    num_ctx: int

    @property
    def model(self) -> str:
        """The name as it was asked for."""
        return str(self.fields["model"])

    @property
    def streams(self) -> bool:
        return self.fields.get("stream") is not False

    @property
    def only_loads(self) -> bool:
        """Whether nothing is asked, so the model is only loaded or unloaded."""
        return not self.fields.get("messages" if self.chat else "prompt")

    @property
    def unloads(self) -> bool:
        return self.fields.get("keep_alive") in (0, "0", "0s")

    @property
    def top(self) -> int | None:
        """How many alternatives a token; None where no log-probabilities are asked."""
        return int(self.fields.get("top_logprobs") or 0) if self.fields.get("logprobs") else None

    @property
    def limit(self) -> int:
        """Most tokens of the answer."""
        asked = int(self.options.get("num_predict", -1))
        most = MOST_PER_CTX * self.num_ctx
        return asked if 0 < asked < most else most

    @property
    def loaded_with(self) -> tuple[Any, ...]:
        """What, if it is another, makes the server load the model again."""
        return (self.num_ctx, *(self.options.get(name) for name in _LOADED_WITH[1:]))

    def text(self, template: Template) -> str:
        """Return the prompt: as it is if raw, else by the template."""
        if self.fields.get("raw"):
            return str(self.fields["prompt"])
        messages: list[Message] = []
        if self.chat:
            messages = [(one["role"], one.get("content", "")) for one in self.fields["messages"]]
        else:
            if self.fields.get("system"):
                messages.append(("system", str(self.fields["system"])))
            messages.append(("user", str(self.fields["prompt"])))
        return template.render(messages, self.think)


def read(fields: Any, *, chat: bool, thinks: bool, context: int) -> Question:
    """Read a request, in the order in which a server objects.

    Raises:
        Refusal: it is not right.
    """
    think = _think(fields)
    _keep_alive(fields.get("keep_alive"))
    if not 0 <= int(fields.get("top_logprobs") or 0) <= 20:
        raise Refusal(400, "top_logprobs must be between 0 and 20")
    if fields.get("raw") and any(fields.get(name) for name in ("system", "template", "context")):
        raise Refusal(400, "raw mode does not support template, system, or context")
    if think and not thinks:
        raise Refusal(400, f'"{fields["model"]}" does not support thinking')
    options = fields.get("options") or {}
    _options(options)
    num_ctx = min(int(options.get("num_ctx", DEFAULT_CTX)), context)
    return Question(fields, chat, options, think, num_ctx)


def fitted(question: Question, tokens: list[int], version: str) -> list[int]:
    """Return what the model reads of a prompt: all of it, or what a server cuts it to.

    Raises:
        Refusal: it is too long, and may not be cut.
    """
    num_ctx, old = question.num_ctx, is_old(version)
    if len(tokens) < num_ctx or (old and len(tokens) == num_ctx):
        return tokens
    if question.fields.get("truncate") is False:
        raise Refusal(400, _too_long(len(tokens), num_ctx, old=old))
    kept = num_ctx if old else num_ctx - (num_ctx - KEPT) // 2
    return [*tokens[:KEPT], *tokens[-(kept - KEPT) :]]


def _too_long(tokens: int, num_ctx: int, *, old: bool) -> str:
    if old:
        return "the input length exceeds the context length"
    return (
        f'{{"error":{{"code":400,"message":"request ({tokens} tokens) exceeds the available '
        f'context size ({num_ctx} tokens), try increasing it","type":"exceed_context_size_error",'
        f'"n_prompt_tokens":{tokens},"n_ctx":{num_ctx}}}}}'
    )


def bad_schema(kind: object, version: str) -> Refusal:
    """Return the refusal of a schema that no grammar can be made of."""
    if is_old(version):
        return Refusal(500, "invalid JSON schema in format")
    said = (
        "Field 'json_schema': \\\"json_schema\\\": JSON schema conversion failed:\\n"
        f"JSON schema error at #: unrecognized type {kind}"
    )
    return Refusal(
        400, f'{{"error":{{"code":400,"message":"{said}","type":"invalid_request_error"}}}}'
    )


def _think(fields: Mapping[str, Any]) -> bool | str | None:
    think = fields.get("think")
    if isinstance(think, str) and think not in _LEVELS:
        levels = ", ".join(f'"{level}"' for level in _LEVELS)
        raise Refusal(400, f'invalid think value: "{think}" (must be {levels}, true, or false)')
    return think


def _keep_alive(said: object) -> None:
    if isinstance(said, str) and said != "0" and not _DURATION.fullmatch(said):
        raise Refusal(400, f'time: missing unit in duration "{said}"')


def _options(options: Mapping[str, Any]) -> None:
    kinds = [(name, int | float, "integer") for name in _INTEGERS]
    kinds += [(name, int | float, "float32") for name in _FLOATS]
    for name, kind, said in (*kinds, ("stop", list, "array")):
        one = options.get(name)
        if one is not None and (not isinstance(one, kind) or isinstance(one, bool)):
            raise Refusal(500, f'option "{name}" must be of type {said}')


def full_name(model: str) -> str:
    """Return a name with its tag.

    >>> full_name("tiny"), full_name("registry.example:80/tiny:1b")
    ('tiny:latest', 'registry.example:80/tiny:1b')
    """
    return model if ":" in model.rsplit("/", 1)[-1] else f"{model}:latest"
