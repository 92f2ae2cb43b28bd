"""A language model inside this process: scores titles, reads its own layers, continues text.

The only backend whose weights can be measured. A request is one pass (`packed`), and what
it computes is stated in `passes`; this module turns text into tokens and answers into
`Scores`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recommender.backends import Completion, ModelCard, Prompt, Refusing, Scores
from recommender.backends.gguf import load_gguf
from recommender.backends.packed import PACK_TOKENS, Pack, pack, packs
from recommender.backends.passes import (
    LayerStates,
    pack_hidden,
    require_llama_layout,
    title_logprobs,
)
from recommender.backends.weights import (
    choose_device,
    choose_precision,
    find_weights,
    load_directory,
    weights_digest,
)
from recommender.prompts import (
    BULLET,
    HISTORY_TITLES,
    PREFIX_TOKENS,
    TITLE_TOKENS,
    heading,
    letters_question,
    title_line,
)
from storage.errors import BadSetting
from storage.records import FloatArray

if TYPE_CHECKING:
    from storage.artifacts import Artifacts

UNCONDITIONAL_PACK_TOKENS = 512
"""With hardly any prefix to share, long packs only make attention dearer."""


class EmbeddedBackend(Refusing):
    """A `Backend` over a causal language model in the Llama layout.

    It begins a text with the tokens its tokenizer begins one with: Llama 3's puts one,
    SmolLM2's none. `describe().begins_with` says which.
    """

    def __init__(self, model: Any, tokenizer: Any, card: ModelCard) -> None:
        """Wrap a loaded model; `open` is the usual way in."""
        self.model = model
        self.tokenizer = tokenizer
        self.refuses_as = f"{card.name!r}, in this process,"
        self._card = card
        self._begin = _begin_tokens(tokenizer)
        self._line_cache: dict[str, tuple[int, ...]] = {}

    @classmethod
    def open(
        cls,
        spec: str | Path,
        *,
        artifacts: Artifacts | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> EmbeddedBackend:
        """Open a Hugging Face directory, a GGUF file or a hub id.

        Args:
            spec: What to open.
            artifacts: Where the conversion of a GGUF file is kept. Without it the file is
                converted in memory, each time.
            device: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.
            precision: 'auto', 'float32' or 'bfloat16'; see `choose_precision`.

        Raises:
            UnknownName: There is no such model.
            BadData: There is, but it cannot be read or has another layout than Llama's.
            Offline: It would have to be fetched and the hub cannot be reached.
            BadSetting: The device or precision does not exist here.
        """
        where = choose_device(device)
        chosen = choose_precision(precision, where)
        place = find_weights(spec)
        digest = weights_digest(place)
        dtype = getattr(torch, chosen)
        if place.kind == "gguf":
            model, tokenizer = load_gguf(place, digest, artifacts=artifacts, dtype=dtype)
        else:
            model, tokenizer = load_directory(place.path, source=place.source, dtype=dtype)
        require_llama_layout(model, place.source)
        card = model_card(
            model, tokenizer, name=place.name, digest=digest, precision=chosen, source=place.source
        )
        return cls(model.to(where), tokenizer, card)

    @property
    def begin_tokens(self) -> int:
        """How many tokens a text begins with that are none of its words."""
        return len(self._begin)

    def describe(self) -> ModelCard:
        """Say what model this is and what it can do."""
        return self._card

    def likelihood(
        self, prompt: Prompt, titles: Sequence[str], *, states_of: Sequence[int] = ()
    ) -> Scores:
        """Score each title as the next line of the history, all in one pass.

        Args:
            prompt: Its history and noun are used.
            titles: At least one.
            states_of: Layers whose state at the end of the history is wanted from the same
                pass: 0 is the embedding, l the output of the l-th layer (before the final
                norm). They come back as `Scores.states`.
        """
        started = time.perf_counter()
        prefix, shown = self.prefix_tokens(prompt)
        scores, states = self._run(prefix, titles, PACK_TOKENS, states_of)
        return _as_scores(scores, time.perf_counter() - started, shown, states)

    def unconditional(self, titles: Sequence[str], *, noun: str = "products") -> Scores:
        """Score each title as the first line of a list: the likelihood without a history."""
        started = time.perf_counter()
        prefix, _ = self.prefix_tokens(Prompt((), noun=noun))
        scores, _ = self._run(prefix, titles, UNCONDITIONAL_PACK_TOKENS, ())
        return _as_scores(scores, time.perf_counter() - started, 0, None)

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        """Ask by letters: log-probability of each label right after 'Answer:'.

        A label counts with and without a leading space; the two are added up.

        Raises:
            BadSetting: There are not as many labels as candidates, or a label is no token.
        """
        started = time.perf_counter()
        if len(labels) != len(prompt.candidates):
            raise BadSetting(f"{len(labels)} labels for {len(prompt.candidates)} candidates")
        text, variants, shown = self._letters(prompt, labels)
        one = pack(text, [[variants[0][0]]])
        with torch.inference_mode():
            hidden = pack_hidden(self.model, one)[-1:]
            logp = torch.log_softmax(self.model.lm_head(hidden)[0].float(), dim=-1).cpu()
        merged = [float(torch.logsumexp(logp[list(v)], dim=0)) for v in variants]
        outside = max(0.0, 1.0 - float(np.exp(merged).sum()))
        seconds = time.perf_counter() - started
        return Scores(tuple(merged), (1,) * len(labels), seconds, shown, outside)

    def letters_tokens(self, prompt: Prompt) -> tuple[list[int], list[list[int]]]:
        """Give the tokens up to the answer, and for each candidate those that spell its letter.

        Raises:
            BadSetting: a letter is no single token, or there are more candidates than letters.
        """
        if len(prompt.candidates) > len(ascii_uppercase):
            raise BadSetting(f"{len(prompt.candidates)} candidates cannot be lettered from A to Z")
        text, variants, _ = self._letters(prompt, ascii_uppercase[: len(prompt.candidates)])
        return text, variants

    def states(self, prompt: Prompt, layers: Sequence[int]) -> FloatArray:
        """Give the states at the end of the history, (len(layers), width), in float32."""
        prefix, _ = self.prefix_tokens(prompt)
        with torch.inference_mode(), LayerStates(self.model, len(prefix) - 1, layers) as kept:
            pack_hidden(self.model, pack(prefix, [prefix[:1]]))
        return np.asarray(kept.taken().numpy())

    def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
        """Answer a turn with the likeliest token, at most `limit` times.

        The turn stands inside the tokenizer's chat template; a model without one continues it.
        """
        ids = torch.tensor([self._turn_tokens(turn)], device=self.model.device)
        made: list[int] = []
        said, cache = "", None
        for _ in range(limit):
            with torch.inference_mode():
                output = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache, best = output.past_key_values, int(output.logits[0, -1].argmax())
            if best in self._endings:
                return
            made.append(best)
            ids = torch.tensor([[best]], device=self.model.device)
            whole = self.tokenizer.decode(made, skip_special_tokens=True)
            if not whole.endswith("�"):  # half of a character: wait for the rest
                yield whole[len(said) :]
                said = whole

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        """Answer a turn in free text; a schema is refused.

        Raises:
            BadSetting: a schema was given.
        """
        if schema is not None:
            raise self.refusal("write by a JSON schema")
        started = time.perf_counter()
        text = "".join(self.stream(turn, limit=limit))
        made = len(self._tokens(text))
        return Completion(text, time.perf_counter() - started, made, whole=made < limit)

    def prefix_tokens(self, prompt: Prompt, *, bullet: bool = True) -> tuple[list[int], int]:
        """Turn the history into tokens and say how many of its last titles are shown.

        At most `HISTORY_TITLES` titles and `PREFIX_TOKENS` tokens: the oldest titles go
        first, whole lines at a time. The last bullet, behind which a title is scored, stays.
        """
        mark = self._tokens(BULLET)
        begin = [*self._begin, *self._tokens(heading(prompt.noun))]
        lines: list[list[int]] = []
        room = PREFIX_TOKENS - len(begin) - len(mark)
        for title in reversed(prompt.history[-HISTORY_TITLES:]):
            line = [*mark, *self.title_tokens(title)]
            room -= len(line)
            if room < 0:
                break
            lines.append(line)
        body = [token for line in reversed(lines) for token in line]
        return [*begin, *body, *(mark if bullet else ())], len(lines)

    def title_tokens(self, title: str) -> list[int]:
        """Turn a title into the tokens of its line: at most `TITLE_TOKENS`, newline included."""
        return self._tokens(title_line(title), limit=TITLE_TOKENS)

    def line_tokens(self, line: str, *, limit: int | None = None) -> list[int]:
        """Turn one line of a prompt into tokens; its newline survives a cut to `limit`."""
        return self._tokens(line, limit=limit)

    def request_packs(self, prompt: Prompt, titles: Sequence[str]) -> list[Pack]:
        """Lay a request out as the packs that `likelihood` runs, for whoever runs them himself."""
        prefix, _ = self.prefix_tokens(prompt)
        return packs(prefix, [self.title_tokens(title) for title in titles], limit=PACK_TOKENS)

    def _run(
        self, prefix: list[int], titles: Sequence[str], limit: int, states_of: Sequence[int]
    ) -> tuple[list[tuple[float, int]], FloatArray | None]:
        lines = [self.title_tokens(title) for title in titles]
        found: list[float] = []
        states: FloatArray | None = None
        for one in packs(prefix, lines, limit=limit):
            asked = () if one.first else states_of
            with torch.inference_mode(), LayerStates(self.model, one.prefix - 1, asked) as kept:
                hidden = pack_hidden(self.model, one)
                found.extend(title_logprobs(self.model, hidden, one).tolist())
            if asked:
                states = np.asarray(kept.taken().numpy())
        return list(zip(found, map(len, lines), strict=True)), states

    def _letters(
        self, prompt: Prompt, labels: Sequence[str]
    ) -> tuple[list[int], list[list[int]], int]:
        variants = [self._label_tokens(label) for label in labels]
        question: list[int] = []
        for line in letters_question(prompt, labels).splitlines(keepends=True):
            question.extend(self._tokens(line, limit=TITLE_TOKENS + 8))
        prefix, shown = self.prefix_tokens(prompt, bullet=False)
        return [*prefix, *question], variants, shown

    def _tokens(self, text: str, *, limit: int | None = None) -> list[int]:
        """Turn one line into tokens. A special token's name inside a title stays mere text."""
        found = self._line_cache.get(text)
        if found is None:
            encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
            found = tuple(encoded["input_ids"])
            if len(self._line_cache) > 100_000:
                self._line_cache.clear()
            self._line_cache[text] = found
        if limit is not None and len(found) > limit:
            end = self._tokens("\n") if text.endswith("\n") else []
            return [*found[: limit - len(end)], *end]
        return list(found)

    def _turn_tokens(self, turn: str) -> list[int]:
        """Put a turn's tokens, none of them special, between those of the chat template."""
        body = self._tokens(turn)
        if not getattr(self.tokenizer, "chat_template", None):
            return [*self._begin, *body]
        mark = "RECSYS-TURN"
        whole = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": mark}], tokenize=False, add_generation_prompt=True
        )
        before, _, after = whole.partition(mark)
        encode = self.tokenizer
        return [
            *encode(before, add_special_tokens=False)["input_ids"],
            *body,
            *encode(after, add_special_tokens=False)["input_ids"],
        ]

    @property
    def _endings(self) -> set[int]:
        """Tokens that end an answer: the tokenizer's, and those the model's settings name."""
        named = getattr(self.model.generation_config, "eos_token_id", None)
        several = named if isinstance(named, list) else [named]
        return {int(t) for t in (self.tokenizer.eos_token_id, *several) if t is not None}

    def _label_tokens(self, label: str) -> list[int]:
        forms = (self._tokens(form) for form in (f" {label}", label))
        single = sorted({tokens[0] for tokens in forms if len(tokens) == 1})
        if not single:
            raise BadSetting(f"{label!r} is not a single token of {self._card.name!r}")
        return single


def model_card(
    model: Any, tokenizer: Any, *, name: str, digest: str, precision: str, source: str
) -> ModelCard:
    """Describe a loaded model."""
    config = model.config
    begin = _begin_tokens(tokenizer)
    return ModelCard(
        name=name.lower(),
        family=str(config.model_type),
        layers=int(config.num_hidden_layers),
        hidden_size=int(config.hidden_size),
        parameters=sum(p.numel() for p in model.parameters()),
        digest=digest,
        precision=precision,
        source=source,
        abilities=("likelihood", "letters", "text", "states", "gradients"),
        device=str(model.device),
        begins_with=tokenizer.decode(begin) if begin else "",
    )


def _begin_tokens(tokenizer: Any) -> list[int]:
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    return list(full[: next((i for i in range(len(full)) if full[i:][: len(plain)] == plain), 0)])


def _as_scores(
    scored: list[tuple[float, int]], seconds: float, shown: int, states: FloatArray | None
) -> Scores:
    logprobs, tokens = zip(*scored, strict=True)
    return Scores(logprobs, tokens, seconds, shown, states=states)
