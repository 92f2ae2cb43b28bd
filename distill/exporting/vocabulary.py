"""What a GGUF file says of its tokenizer: copied from the teacher's file, or built and named.

A server splits text by what these fields say. Guessed, it splits it otherwise, and every
log-probability is another one (a recorded server made 430 tokens of 423). So the teacher's own
fields are taken where it is a GGUF file, and what is built is built only for the ways of
splitting that are known by name on both sides.

Source: the regular expressions of llama.cpp's `llama-vocab.cpp` and its converter's
`_set_vocab_gpt2`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.exporting.gguf_head import ARRAY, INT32, STRING, UINT32, Field, Head, field_of
from storage.errors import BadData

PREFIX = "tokenizer."
NAME_TEACHER = "--teacher FILE.gguf, whose tokenizer is copied"
NORMAL, CONTROL, USER_DEFINED, UNUSED, BOOL = 1, 3, 4, 5, 7
"""Types of tokens, and the type of a yes or no."""

_WORDS = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
_DIGITS = {"type": "Digits", "individual_digits": True}
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLIT = {"type": "Split", "pattern": {"Regex": _LLAMA3}, "behavior": "Isolated", "invert": False}

KNOWN: tuple[tuple[str, tuple[Mapping[str, object], ...], bool], ...] = (
    ("gpt-2", (_WORDS,), False),
    ("smollm", (_DIGITS, _WORDS), False),
    ("llama-bpe", (_SPLIT, _BYTES), True),
)
"""llama.cpp's name, the steps of the same in a tokenizer.json, whether merges are ignored where
a whole word is a token."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The fields of a tokenizer, and where they are from."""

    fields: tuple[Field, ...]
    source: str
    """For people: 'copied from …' or 'built, split as …'."""

    def said(self, name: str, default: Any = None) -> Any:
        """Return what one of the fields says."""
        found = (one.value for one in self.fields if one.name == f"{PREFIX}{name}")
        return next(found, default)


def copied(head: Head, tokenizer: Any, rows: int) -> Vocabulary:
    """Take over the fields of the teacher's file.

    Args:
        head: of the teacher's file.
        tokenizer: of the model that is written: its tokens have to be the same.
        rows: of the model's embedding.

    Raises:
        BadData: the file has another vocabulary.
    """
    fields = tuple(one for name, one in head.fields.items() if name.startswith(PREFIX))
    talks = f"{PREFIX}chat_template" in head.fields
    what = "copied, with the chat template," if talks else "copied"
    made = Vocabulary(fields, f"{what} from {head.path.name}")
    tokens, kinds = made.said("ggml.tokens", []), made.said("ggml.token_type", [])
    if len(tokens) != rows:
        raise BadData(
            f"{str(head.path)!r} has {len(tokens)} tokens and the model {rows}: it is not its "
            "teacher's",
            next_step=NAME_TEACHER,
        )
    own = _tokens(tokenizer, rows)
    kinds = kinds or [NORMAL] * rows
    for number, (theirs, mine, kind) in enumerate(zip(tokens, own, kinds, strict=True)):
        if kind == NORMAL and theirs != mine:
            raise BadData(
                f"token {number} is {theirs!r} in {str(head.path)!r} and {mine!r} in the model: it "
                "is not its teacher's",
                next_step=NAME_TEACHER,
            )
    return made


def built(directory: Path, tokenizer: Any, rows: int) -> Vocabulary:
    """Build the fields from a Hugging Face tokenizer whose way of splitting has a name.

    Args:
        directory: with its tokenizer.json.
        tokenizer: opened from there.
        rows: of the model's embedding; what has no token is filled up with unused ones.

    Raises:
        BadData: it splits text in a way that is not known by name, or is of another kind.
    """
    # Imported here: copying needs none of it.
    from gguf import SpecialVocab

    described = _described(directory)
    name = split_name(described)
    # What was added beyond the model's rows is left out: the model cannot read it either, and
    # transformers adds a token of its own to what it opens from a GGUF file.
    if tokenizer.vocab_size > rows:
        raise BadData(f"the tokenizer has {tokenizer.vocab_size} tokens, and the model {rows}")
    with _quiet():
        special = SpecialVocab(directory, load_merges=True, n_vocab=rows)
    fields = [
        field_of(f"{PREFIX}ggml.model", "gpt2", STRING),
        field_of(f"{PREFIX}ggml.pre", name, STRING),
        field_of(f"{PREFIX}ggml.tokens", _spelled(tokenizer, rows), ARRAY, STRING),
        field_of(f"{PREFIX}ggml.token_type", _kinds(tokenizer, rows), ARRAY, INT32),
        field_of(f"{PREFIX}ggml.merges", special.merges, ARRAY, STRING),
    ]
    named = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    fields += [
        field_of(f"{PREFIX}ggml.{named[kind]}_token_id", int(number), UINT32)
        for kind, number in special.special_token_ids.items()
        if kind in named
    ]
    before, after = _around(tokenizer)
    fields += [
        field_of(f"{PREFIX}ggml.add_bos_token", before, BOOL),
        field_of(f"{PREFIX}ggml.add_eos_token", after, BOOL),
        field_of(f"{PREFIX}ggml.add_space_prefix", False, BOOL),
    ]
    if isinstance(special.chat_template, str):
        fields.append(field_of(f"{PREFIX}chat_template", special.chat_template, STRING))
    return Vocabulary(tuple(fields), f"built from the directory's own, split as {name!r}")


def split_name(described: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of the way a tokenizer.json splits text into words.

    Raises:
        BadData: it is none that is known here.

    >>> model = {"type": "BPE", "byte_fallback": False, "ignore_merges": False}
    >>> steps = {"type": "Sequence", "pretokenizers": [_DIGITS, {**_WORDS, "trim_offsets": True}]}
    >>> split_name({"model": model, "pre_tokenizer": steps, "normalizer": None})
    'smollm'
    """
    model, before = described.get("model") or {}, described.get("pre_tokenizer") or {}
    steps = before.get("pretokenizers", [before])
    plain = [{k: v for k, v in one.items() if k != "trim_offsets"} for one in steps]
    ordinary = (
        model.get("type") == "BPE"
        and not model.get("byte_fallback")
        and described.get("normalizer") is None
    )
    for name, known, ignores in KNOWN:
        if ordinary and plain == list(known) and bool(model.get("ignore_merges")) == ignores:
            return name
    said = " and ".join(str(one.get("type")) for one in steps if one) or "nothing"
    raise BadData(
        f"the tokenizer ({model.get('type', 'of no kind')}, text split by {said}) is of no kind "
        "that can be named to a server, and a guess would be wrong in silence",
        next_step=NAME_TEACHER,
    )


def _described(directory: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(
            f"{str(directory)!r} has no readable tokenizer.json", next_step=NAME_TEACHER
        ) from error
    return found if isinstance(found, dict) else {}


def _tokens(tokenizer: Any, rows: int) -> list[str | None]:
    found: list[str | None] = [None] * rows
    for token, number in tokenizer.get_vocab().items():
        if number < rows:
            found[number] = token
    return found


def _spelled(tokenizer: Any, rows: int) -> list[str]:
    own = _tokens(tokenizer, rows)
    return [f"[PAD{n}]" if token is None else token for n, token in enumerate(own)]


def _kinds(tokenizer: Any, rows: int) -> list[int]:
    added = tokenizer.added_tokens_decoder
    kinds = [UNUSED if token is None else NORMAL for token in _tokens(tokenizer, rows)]
    for number, token in ((n, one) for n, one in added.items() if n < rows):
        kinds[number] = CONTROL if token.special else USER_DEFINED
    return kinds


def _around(tokenizer: Any) -> tuple[bool, bool]:
    """Say whether a text is begun with the first token's mark, and ended with the last's.

    Raises:
        BadData: something else is put there.
    """
    plain: Sequence[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole: Sequence[int] = tokenizer("a")["input_ids"]
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    for before in (False, True):
        for after in (False, True):
            if list(whole) == [*([bos] if before else ()), *plain, *([eos] if after else ())]:
                return before, after
    raise BadData(
        "the tokenizer puts tokens around a text that no field of a GGUF file stands for",
        next_step=NAME_TEACHER,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the remarks of the `gguf` package off the terminal; what they are about is checked."""
    logger = logging.getLogger("gguf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
