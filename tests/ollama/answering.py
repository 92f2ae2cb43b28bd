"""A real model run token by token, as the process behind an Ollama server runs one.

Log-probabilities are the log-softmax of the model's logits over its whole vocabulary, before
anything that sampling does to them, as on the recorded servers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from recommender.backends.embedded import EmbeddedBackend

KEPT = 4
"""Tokens at the start of a prompt that a cut leaves alone (`num_keep`)."""
REPEATS = 30
"""More repetitions of a token than this end an answer without a word."""
LAST = 64
"""`repeat_penalty` looks back so far (`repeat_last_n`)."""

Step = tuple[int, Tensor]
"""A token that was chosen, and the (vocabulary,) log-probabilities it was chosen under."""
Steps = Iterator[Step]
Form = dict[str, tuple[list[str], int]]
"""Name of a list → (what may stand in it, how many places it has)."""


class Speaker:
    """A model and its tokenizer. One pass at a time, whoever asks."""

    def __init__(self, backend: EmbeddedBackend) -> None:
        self.model, self.tokenizer = backend.model, backend.tokenizer
        self.old = False
        """Old servers print special tokens, new ones have no text for them."""
        self._lock = threading.Lock()
        self._anchor = self.more_tokens("a")
        self._texts: dict[tuple[int, bool], str] = {}
        named = getattr(self.model.generation_config, "eos_token_id", None)
        several = named if isinstance(named, list) else [named]
        self.endings = {int(t) for t in (self.tokenizer.eos_token_id, *several) if t is not None}

    @property
    def context(self) -> int:
        """What the model was trained with."""
        return int(self.model.config.max_position_embeddings)

    def tokens(self, text: str) -> list[int]:
        """Turn a prompt into tokens.

        Special ones are taken for what they say, wherever they stand. What begins every text is
        put before this one too, once.
        """
        begin = self.tokenizer.bos_token
        if begin and self.more_tokens(f"{begin}a") == list(self.tokenizer("a")["input_ids"]):
            text = text.removeprefix(begin)
        return list(self.tokenizer(text)["input_ids"])

    def more_tokens(self, text: str) -> list[int]:
        """Turn the continuation of a text into tokens, with nothing before them."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, numbers: Sequence[int]) -> str:
        """Print tokens."""
        options = {"skip_special_tokens": not self.old, "clean_up_tokenization_spaces": False}
        whole = self.tokenizer.decode([*self._anchor, *numbers], **options)
        return str(whole).removeprefix("a")

    def piece(self, number: int) -> str:
        """Print one token; a part of a character has no text on new servers."""
        key = number, self.old
        if key not in self._texts:
            text = self.text([number])
            self._texts[key] = "" if "�" in text and not self.old else text
        return self._texts[key]

    def entry(self, step: Step, top: int) -> dict[str, Any]:
        """Describe a step as the field `logprobs` does, with its `top` alternatives."""
        number, logp = step
        found = self._named(number, float(logp[number]))
        if top:
            best = logp.topk(min(top, len(logp)))
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            found["top_logprobs"] = [self._named(one, value) for one, value in pairs]
        return found

    def vector(self, text: str) -> list[float]:
        """Return the mean of the last states, of length 1: what old servers embed by."""
        ids = torch.tensor([self.tokens(text)], device=self.model.device)
        with self._lock, torch.inference_mode():
            hidden = self.model.model(ids, use_cache=False).last_hidden_state[0].float().mean(0)
        return list((hidden / hidden.norm()).tolist())

    def pass_on(self, numbers: Sequence[int], cache: Any) -> tuple[Tensor, Any]:
        """Feed tokens; return what comes next, (vocabulary,), and the cache to go on with."""
        ids = torch.tensor([list(numbers)], device=self.model.device)
        with self._lock, torch.inference_mode():
            found = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logp = torch.log_softmax(found.logits[0, -1].float(), dim=-1).cpu()
        return logp, found.past_key_values

    def _named(self, number: int, logprob: float) -> dict[str, Any]:
        text = self.piece(number)
        found: dict[str, Any] = {"token": text, "logprob": logprob}
        return found | {"bytes": list(text.encode())} if text else found


class Run:
    """One text under way: what was read and written, and what may come next."""

    def __init__(self, speaker: Speaker, prompt: Sequence[int]) -> None:
        self.speaker = speaker
        self.numbers = list(prompt)
        self.next, self._cache = speaker.pass_on(prompt, None)

    def take(self, number: int) -> None:
        """Go on with a token."""
        self.numbers.append(number)
        self.next, self._cache = self.speaker.pass_on([number], self._cache)


def freely(run: Run, pick: Callable[[Run], int]) -> Steps:
    """Write whatever is picked, for ever."""
    while True:
        number = pick(run)
        yield number, run.next
        run.take(number)


def ranking(run: Run, form: Form, *, spoil: bool = False) -> Steps:
    """Write an object of lists: at every place the likeliest of what may stand there.

    A value may come again, as llama.cpp's grammar has it: `uniqueItems` is not among what it
    knows of a schema.

    Args:
        run: at the end of the prompt.
        form: of `schema_form`.
        spoil: let each list end with its first value once more, and so lack another.
    """
    yield from _forced(run, "{")
    for number, (name, (values, places)) in enumerate(form.items()):
        yield from _forced(run, (", " if number else "") + json.dumps(name) + ": [")
        written: list[str] = []
        for place in range(places):
            yield from _forced(run, ', "' if place else '"')
            open_to = [one for one in values if not spoil or one not in written] or values
            starts = [run.speaker.more_tokens(value)[0] for value in open_to]
            best = open_to[int(run.next[starts].argmax())]
            written.append(written[0] if spoil and place and place == places - 1 else best)
            yield from _forced(run, written[-1])
            yield from _forced(run, '"')
        yield from _forced(run, "]")
    yield from _forced(run, "}")


def _forced(run: Run, text: str) -> Steps:
    for number in run.speaker.more_tokens(text):
        yield number, run.next
        run.take(number)


def schema_form(schema: object) -> Form:
    """Read a JSON schema of the one kind that is written here: an object of lists of choices.

    Raises:
        ValueError: it is another; the argument names what is not understood.

    >>> letters = {"type": "array", "items": {"enum": ["A", "B"]}, "minItems": 2, "maxItems": 2}
    >>> schema_form({"type": "object", "properties": {"ranking": letters}})
    {'ranking': (['A', 'B'], 2)}
    """
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ValueError(schema.get("type") if isinstance(schema, dict) else schema)
    form: Form = {}
    for name, one in schema.get("properties", {}).items():
        values = one.get("items", {}).get("enum")
        if one.get("type") != "array" or not values:
            raise ValueError(one.get("type"))
        form[name] = [str(value) for value in values], int(one.get("maxItems", len(values)))
    return form


class Sampler:
    """Picks the next token: the likeliest at temperature 0, else by chance."""

    def __init__(self, temperature: float, seed: int, penalty: float) -> None:
        self.temperature, self.penalty = temperature, penalty
        self._chance = torch.Generator()
        if seed < 0:
            self._chance.seed()
        else:
            self._chance.manual_seed(seed)

    def __call__(self, run: Run) -> int:
        """Pick for a run."""
        scores = run.next.clone()
        if self.penalty != 1.0:
            recent = torch.tensor(sorted(set(run.numbers[-LAST:])))
            scores[recent] *= self.penalty  # logarithms of probabilities are negative
        if self.temperature <= 0:
            return int(scores.argmax())
        weights = torch.softmax(scores / self.temperature, dim=-1)
        return int(torch.multinomial(weights, 1, generator=self._chance))


class Answer:
    """Turns steps into pieces of text with their entries, and knows where to end.

    Iterate it; `reason` and `made` are right afterwards. A real server loses the entry of a
    token that has no text. Here only the ending's is lost: random weights write half
    characters that no trained model would, and their alternatives are wanted.
    """

    def __init__(
        self,
        speaker: Speaker,
        steps: Steps,
        *,
        limit: int,
        stops: Sequence[str] = (),
        top: int | None = None,
        repeats: int = REPEATS,
    ) -> None:
        """`top` alternatives an entry; None for no entries."""
        self._speaker, self._steps = speaker, steps
        self._limit, self._stops, self._top, self._repeats = limit, stops, top, repeats
        self.reason = "stop"
        """'stop', 'length', or '' where the same token came too often."""
        self.made = 0
        """Tokens that were written, the ending one among them."""
        self.numbers: list[int] = []
        """Those that were said."""

    def __iter__(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        sent, entries = "", []
        for step in self._steps:
            self.made += 1
            if step[0] in self._speaker.endings:
                break
            self.numbers.append(step[0])
            if self._repeated():
                self.reason = ""
                return
            if self._top is not None:
                entries.append(self._speaker.entry(step, self._top))
            whole = self._speaker.text(self.numbers)
            ends = [whole.find(stop) for stop in self._stops if stop in whole]
            if ends:
                # What belongs to the stop has no entries; nor has what is held back with it.
                if min(ends) > len(sent):
                    yield whole[len(sent) : min(ends)], []
                return
            if not self._held(whole) and whole != sent:
                yield whole[len(sent) :], entries
                sent, entries = whole, []
            if self.made >= self._limit:
                self.reason = "length"
                break
        whole = self._speaker.text(self.numbers).rstrip("�")
        if len(whole) > len(sent) or entries:
            yield whole[len(sent) :], entries

    def _repeated(self) -> bool:
        last = self.numbers[-self._repeats - 2 :]
        return len(last) == self._repeats + 2 and len(set(last)) == 1

    def _held(self, whole: str) -> bool:
        """Say whether the end is half of a character, or may become a stop."""
        begun = [stop[:size] for stop in self._stops for size in range(1, len(stop))]
        return whole.endswith(("�", *begun))
