"""Chat templates of a few families: the text that `/api/show` has of one, and what it makes.

Both by hand, since no Go is here to run the one into the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.errors import BadSetting

Message = tuple[str, str]
"""(role, content)."""


@dataclass(frozen=True, slots=True)
class Template:
    """A family's template."""

    text: str
    """In Go's template language, as `/api/show` gives it."""
    stops: tuple[str, ...]
    """What its Modelfile ends an answer at."""
    family: str
    """The architecture that comes with it; '' for the model's own."""
    thinks: bool
    render: Callable[[Sequence[Message], bool | str | None], str]
    """Messages and `think` (None where the request does not say) → the prompt."""


def _chatml(messages: Sequence[Message], _think: bool | str | None = None) -> str:
    turns = (f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    return f"{''.join(turns)}<|im_start|>assistant\n"


def _chatml_think(messages: Sequence[Message], think: bool | str | None) -> str:
    return _chatml(messages) + ("<think>\n\n</think>\n\n" if think is False else "")


def _thinking_only(messages: Sequence[Message], _think: bool | str | None) -> str:
    return _chatml(messages) + "<think>\n"


def _llama3(messages: Sequence[Message], _think: bool | str | None) -> str:
    turns = (
        f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>"
        for role, content in messages
    )
    return f"{''.join(turns)}<|start_header_id|>assistant<|end_header_id|>\n\n"


def _harmony(messages: Sequence[Message], think: bool | str | None) -> str:
    system = (
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
        "Knowledge cutoff: 2024-06\nCurrent date: 2026-11-23\n\n"
        f"Reasoning: {think if isinstance(think, str) else 'medium'}\n\n"
        "# Valid channels: analysis, commentary, final. "
        "Channel must be included for every message.<|end|>"
    )
    named = (("developer" if role == "system" else role, content) for role, content in messages)
    turns = (f"<|start|>{role}<|message|>{content}<|end|>" for role, content in named)
    return f"{system}{''.join(turns)}<|start|>assistant"


_CHATML_STOPS = ("<|im_start|>", "<|im_end|>")
_CHATML_TEXT = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
    "{{ end }}<|im_start|>assistant\n"
)
_LLAMA3_TEXT = (
    "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n"
    "{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n"
)
_HARMONY_TEXT = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: {{ currentDate }}\n\n"
    "Reasoning: {{ if .ThinkLevel }}{{ .ThinkLevel }}{{ else }}medium{{ end }}\n\n"
    "# Valid channels: analysis, commentary, final. "
    "Channel must be included for every message.<|end|>"
    "{{- range .Messages }}<|start|>{{ .Role }}<|message|>{{ .Content }}<|end|>{{ end }}"
    "<|start|>assistant"
)

TEMPLATES = {
    "chatml": Template(_CHATML_TEXT, _CHATML_STOPS, "", False, _chatml),
    "chatml-think": Template(
        f"{_CHATML_TEXT}{{{{ if and $.IsThinkSet (not $.Think) }}}}<think>\n\n</think>\n\n"
        "{{ end }}",
        _CHATML_STOPS,
        "",
        True,
        _chatml_think,
    ),
    "thinking-only": Template(f"{_CHATML_TEXT}<think>\n", _CHATML_STOPS, "", True, _thinking_only),
    "llama3": Template(
        _LLAMA3_TEXT,
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "",
        False,
        _llama3,
    ),
    "harmony": Template(_HARMONY_TEXT, (), "gptoss", True, _harmony),
}


def template_of(name: str) -> Template:
    """Return a template by its name.

    >>> template_of("chatml-think").render([("user", "Hi")], False).splitlines()[-2]
    '</think>'
    """
    if name not in TEMPLATES:
        raise BadSetting(f"no template {name!r}: {', '.join(TEMPLATES)}")
    return TEMPLATES[name]
