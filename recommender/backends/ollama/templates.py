"""What a model's own template puts around a user's turn, and how its thinking is passed by.

The server renders a turn that holds a mark, and the text before and after the mark is kept.
Where a server does not render, the control tokens in `/api/show`'s template name the family,
and the family's form is used. A model whose template opens a thought whatever it is told
cannot be asked for one token, and is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from recommender.backends.errors import CannotTeach
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.models import Facts

MARK = "RECSYS-TURN"

_BEGINNINGS = ("<|begin_of_text|>", "<|startoftext|>", "<s>", "<bos>", "<|endoftext|>")
"""What a template may spell out at its start, and the tokenizer puts there anyway."""

_MONTH = (
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r"(?:uary|ruary|ch|il|e|y|ust|tember|ober|ember)?"
)
_DAYS = (
    (re.compile(r"\b20\d\d-\d\d-\d\d\b"), "2025-01-01"),
    (re.compile(rf"\b\d{{1,2}} {_MONTH} 20\d\d\b"), "01 Jan 2025"),
    (re.compile(rf"\b{_MONTH} \d{{1,2}}, 20\d\d\b"), "January 1, 2025"),
)

_HARMONY_FINAL = "<|channel|>final<|message|>"
_EMPTY_THOUGHT = "<think>\n\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The text around a user's turn, up to where the model's answer begins."""

    before: str
    after: str
    source: str
    """'rendered' by the server, or the family whose form was taken: 'llama3', 'chatml' …"""

    def around(self, turn: str, opening: str = "") -> str:
        """Return the whole prompt for a turn, the model's answer begun with `opening`.

        >>> ChatTemplate("<u>", "<a>", "rendered").around("Hi", "Answer:")
        '<u>Hi<a>Answer:'
        """
        return f"{self.before}{turn}{self.after}{opening}"


FAMILIES: dict[str, ChatTemplate] = {
    "<|start_header_id|>": ChatTemplate(
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "llama3",
    ),
    "<|im_start|>": ChatTemplate(
        "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "chatml"
    ),
    "<start_of_turn>": ChatTemplate(
        "<start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", "gemma"
    ),
    "<|start|>": ChatTemplate(
        "<|start|>user<|message|>",
        f"<|end|><|start|>assistant{_HARMONY_FINAL}",
        "harmony",
    ),
    "[INST]": ChatTemplate("[INST] ", " [/INST]", "mistral"),
}
"""By the control token that gives a family away; the first that a template has counts."""


def find_template(client: OllamaClient, facts: Facts, options: dict[str, object]) -> ChatTemplate:
    """Return the template of a model: rendered by the server, else by its family.

    Raises:
        CannotTeach: it thinks whatever it is told, or its form is not known.
    """

    def rendered(think: bool) -> str | None:
        messages = [{"role": "user", "content": MARK}]
        fields = {"model": facts.name, "messages": messages, "think": think, "options": options}
        return client.rendered(fields)

    text = rendered(False)
    if text is None or text.count(MARK) != 1:
        return by_family(facts)
    before, _, after = timeless(text).partition(MARK)
    for beginning in _BEGINNINGS:
        before = before.removeprefix(beginning)
    if is_harmony(facts, text):
        return ChatTemplate(before, _final_channel(after), "rendered")
    # Only a model that says it can think takes `think: true`; another one refuses it.
    thinks = "thinking" in facts.capabilities
    if opens_thought(after) or (thinks and rendered(True) == text):
        raise thinking_only(facts.name)
    return ChatTemplate(before, after, "rendered")


def timeless(text: str) -> str:
    """Put one fixed day in the place of any day a template writes.

    Some templates tell the model today's date: the same question would be another one tomorrow.

    >>> timeless("Current date: 2026-11-24, Today Date: 24 Nov 2026")
    'Current date: 2025-01-01, Today Date: 01 Jan 2025'
    """
    for pattern, day in _DAYS:
        text = pattern.sub(day, text)
    return text


def by_family(facts: Facts) -> ChatTemplate:
    """Return the form of the family that a template's control tokens name.

    Raises:
        CannotTeach: no family that is known.
    """
    found = next((form for token, form in FAMILIES.items() if token in facts.template), None)
    if found is None:
        raise CannotTeach(
            f"the chat template of {facts.name!r} is of no known family, and the server does not "
            "render it",
            next_step="update Ollama, or choose a llama3, qwen3 or gpt-oss model",
        )
    if found.source == "chatml" and "thinking" in facts.capabilities:
        if "IsThinkSet" not in facts.template:
            raise thinking_only(facts.name)
        return ChatTemplate(found.before, found.after + _EMPTY_THOUGHT, found.source)
    return found


def is_harmony(facts: Facts, text: str) -> bool:
    """Say whether a model answers in channels, as gpt-oss does."""
    return facts.family in ("gptoss", "gpt-oss") or text.rstrip().endswith("<|start|>assistant")


def opens_thought(after: str) -> bool:
    r"""Say whether a rendered template ends inside a thought.

    >>> opens_thought("assistant\n<think>\n"), opens_thought("<think>\n\n</think>\n\n")
    (True, False)
    """
    return after.count("<think>") > after.count("</think>")


def thinking_only(name: str) -> CannotTeach:
    """Return the error for a model that cannot be kept from thinking."""
    plain = name.partition(":")[0]
    return CannotTeach(
        f"{name!r} thinks before every answer and cannot be told not to, so its first token is "
        "never a letter",
        next_step=f"a hybrid or instruct build, e.g. {plain}:8b or one whose tag has 'instruct'",
    )


def _final_channel(after: str) -> str:
    """Open the final channel, where the answer stands, whatever the template left open."""
    head, _, _ = after.partition("<|start|>assistant")
    return f"{head}<|start|>assistant{_HARMONY_FINAL}"
