"""An Ollama model as a `Backend`: it scores letters, writes text and JSON, and nothing else.

It cannot score the likelihood of a title that is given to it: a server names at most 20
tokens that it would write itself.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from recommender.backends import Ability, Completion, ModelCard, Prompt, Refusing, Scores
from recommender.backends.errors import CannotTeach, ContextTooSmall, Cut, Transient
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.models import Facts, ServerModels
from recommender.backends.ollama.templates import (
    MARK,
    ChatTemplate,
    find_template,
    thinking_only,
)
from recommender.chat_prompts import OPENING, letters_turn
from recommender.letters import TOP, nothing_read, read_letters

NUM_CTX = 4096
KEEP_ALIVE = "30m"
FIRST_WITH_LOGPROBS = (0, 12, 11)
THOUGHTS = ("<think", "<|channel", "<thought")
"""What a model that thinks whatever it is told begins with."""
BYTES_PER_TOKEN = 2
"""Fewer than any text has on average, so that a prompt that should fit does."""
SPARE_TOKENS = 64
"""Room for control tokens and the answer."""
LEAST_SHARE = 0.125
"""A prompt that the server counts at less than this many tokens a byte was cut."""


class OllamaBackend(Refusing):
    """One model on one server, asked with one set of options, so that it is never reloaded.

    >>> OllamaBackend.open("llama3.1:8b", host="127.0.0.1:9")
    Traceback (most recent call last):
    ...
    recommender.backends.errors.ServerDown: ...
    """

    def __init__(
        self,
        client: OllamaClient,
        card: ModelCard,
        template: ChatTemplate,
        *,
        num_ctx: int = NUM_CTX,
    ) -> None:
        """Stand on an open client; `open` is the usual way in."""
        self.client = client
        self.template = template
        self.num_ctx = num_ctx
        self.refuses_as = f"{card.name!r}, served by Ollama,"
        self._card = card
        self._reloading = False

    @classmethod
    def open(
        cls,
        name: str,
        *,
        host: str = "",
        num_ctx: int = NUM_CTX,
        client: OllamaClient | None = None,
    ) -> OllamaBackend:
        """Find a model on a server, learn its template, and ask it one letter to see if it can.

        Args:
            name: as `ollama list` shows it; without a tag it is ':latest'.
            host: address of the server, as people write it.
            num_ctx: tokens of context; the model is loaded with as many, for everybody.
            client: to be used instead of one for `host`.

        Raises:
            ServerDown: nobody answers.
            ModelMissing: the model is not pulled.
            CannotTeach: it is an embedding model, or thinks whatever it is told.
        """
        with ExitStack() as undone:
            client = undone.enter_context(client or OllamaClient(host))
            made = cls._opened(client, name, num_ctx)
            undone.pop_all()
        return made

    @classmethod
    def _opened(cls, client: OllamaClient, name: str, num_ctx: int) -> OllamaBackend:
        version = client.version()
        with ServerModels(client) as models:
            facts = models.show(name)
        if facts.capabilities and "completion" not in facts.capabilities:
            raise CannotTeach(
                f"{name!r} writes no text: it can do {', '.join(facts.capabilities)}",
                next_step=f"--teacher-mode embedding with --teacher {name}",
            )
        given = min(num_ctx, facts.context or num_ctx)
        template = find_template(client, facts, {**frozen_options(given), "num_predict": 1})
        card = _card(facts, version, client.address, given, template)
        blank = cls(client, card, template, num_ctx=given)
        abilities: tuple[Ability, ...] = ("text", "json")
        if blank._names_alternatives():
            abilities = ("letters", *abilities)
        return cls(client, replace(card, abilities=abilities), template, num_ctx=given)

    def describe(self) -> ModelCard:
        """Say what model this is and what it can do."""
        return self._card

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        """Ask for one letter, and read every letter's log-probability out of the alternatives.

        Raises:
            BadSetting: the server names no alternatives; or the prompt does not fit.
            BackendError: the server did not answer.
        """
        if "letters" not in self._card.abilities:
            raise self.refusal(f"score letters: {self._card.server} names no log-probabilities")
        shown = self.fitted(prompt, labels)
        text = self.template.around(letters_turn(shown, labels), OPENING)
        started = time.perf_counter()
        answer = self._answered(self.fields(text, predict=1, top=TOP))
        return self._as_scores(answer, labels, text, len(shown.history), started)

    def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
        """Answer a turn piece by piece. Closing the iterator stops the model."""
        fields = self.fields(self.template.around(turn), predict=limit)
        for line in self.client.stream("/api/generate", fields):
            piece = line.get("response")
            if piece:
                yield str(piece)

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        """Answer a turn; with a schema, in JSON that it allows.

        By `/api/generate`, because `/api/chat` forgot the schema of thinking models on several
        releases.
        """
        fields = self.fields(self.template.around(turn), predict=limit)
        if schema is not None:
            fields["format"] = schema
        started = time.perf_counter()
        answer = self._answered(fields)
        return Completion(
            text=str(answer.get("response", "")),
            seconds=time.perf_counter() - started,
            tokens=int(answer.get("eval_count") or 0),
            prompt_tokens=int(answer.get("prompt_eval_count") or 0),
            whole=answer.get("done_reason") != "length",
            details=self._kept(answer),
        )

    def fields(self, text: str, *, predict: int, top: int = 0) -> dict[str, Any]:
        """Return the request that every question is asked with; only text and length differ."""
        fields: dict[str, Any] = {
            "model": self._card.name,
            "prompt": text,
            "raw": True,
            "think": False,
            "truncate": False,
            "keep_alive": KEEP_ALIVE,
            "options": {**frozen_options(self.num_ctx), "num_predict": predict},
        }
        if top:
            fields |= {"logprobs": True, "top_logprobs": top}
        return fields

    def fitted(self, prompt: Prompt, labels: Sequence[str]) -> Prompt:
        """Leave out the oldest titles until the prompt fits, by a careful count.

        Raises:
            ContextTooSmall: it does not fit without any history.
        """
        history = prompt.history
        while True:
            shown = Prompt(history, prompt.candidates, prompt.noun)
            need = self.estimated_tokens(letters_turn(shown, labels))
            if need <= self.num_ctx:
                return shown
            if not history:
                raise ContextTooSmall(
                    f"{len(labels)} candidates take about {need} tokens, and {self._card.name!r} "
                    f"is given room for {self.num_ctx}",
                    next_step="a larger --num-ctx, or fewer --candidates",
                    needed=need,
                    given=self.num_ctx,
                )
            history = history[1:]

    def estimated_tokens(self, turn: str) -> int:
        """Return at least as many tokens as the server will count for a turn, as a rule."""
        text = self.template.around(turn, OPENING)
        return len(text.encode()) // BYTES_PER_TOKEN + SPARE_TOKENS

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _answered(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Ask; once after a failure wait as long as a model may take to be loaded again."""
        patient, self._reloading = self._reloading, False
        try:
            return self.client.generate(fields, patient=patient)
        except Transient:
            self._reloading = not patient
            raise

    def _names_alternatives(self) -> bool:
        """Ask for one letter; this loads the model too, with the options of every later request."""
        turn = letters_turn(Prompt((), ("A", "B"), "letters"), "AB")
        text = self.template.around(turn, OPENING)
        answer = self.client.generate(self.fields(text, predict=1, top=TOP), patient=True)
        top = _alternatives(answer)
        likeliest = max(top, key=lambda one: one[1])[0] if top else str(answer.get("response", ""))
        if likeliest.strip().startswith(THOUGHTS):
            raise thinking_only(self._card.name)
        if not top and not answer.get("response"):
            # It ended at once, and says nothing of what it could have said.
            return version_of(self._card.server) >= FIRST_WITH_LOGPROBS
        return len(top) > 1

    def _as_scores(
        self,
        answer: Mapping[str, Any],
        labels: Sequence[str],
        text: str,
        shown: int,
        started: float,
    ) -> Scores:
        top = _alternatives(answer)
        if answer.get("response") and not top:
            # A model that ends at once declines; one that answers has alternatives.
            raise Cut(f"{self._card.server} left the log-probabilities of an answer out")
        read = read_letters(top, labels) if top else nothing_read(labels)
        counted = int(answer.get("prompt_eval_count") or 0)
        cut = was_cut(counted, len(text.encode()), self.num_ctx)
        return Scores(
            logprobs=read.logprobs,
            tokens=(1,) * len(labels),
            seconds=time.perf_counter() - started,
            history_shown=shown,
            outside=read.outside,
            status="truncated" if cut else "",
            details={
                **self._kept(answer),
                "missing": [n for n, gone in enumerate(read.missing) if gone],
                "top": [[token, logprob] for token, logprob in top],
            },
        )

    def _kept(self, answer: Mapping[str, Any]) -> dict[str, object]:
        kept: dict[str, object] = {
            "server": self._card.server,
            "prompt_tokens": int(answer.get("prompt_eval_count") or 0),
            "made_tokens": int(answer.get("eval_count") or 0),
            "server_seconds": int(answer.get("total_duration") or 0) / 1e9,
            "load_seconds": int(answer.get("load_duration") or 0) / 1e9,
        }
        cached = answer.get("prompt_eval_cached_count")
        return kept if cached is None else {**kept, "cached_tokens": int(cached)}


def frozen_options(num_ctx: int) -> dict[str, object]:
    """Return the options of every request; a different set would reload the model for everybody.

    >>> frozen_options(2048)["num_ctx"]
    2048
    """
    return {"num_ctx": num_ctx, "temperature": 0, "seed": 0, "repeat_penalty": 1.0}


def was_cut(counted: int, size: int, num_ctx: int) -> bool:
    """Say whether a server read less than it was sent, without a word.

    Args:
        counted: tokens it says it read; 0 where it does not say.
        size: bytes it was sent.
        num_ctx: tokens of context.

    Old servers keep the last `num_ctx` tokens, new ones half of them and two or three more.

    >>> was_cut(1026, 9000, 2048), was_cut(2048, 9000, 2048), was_cut(423, 1400, 2048)
    (True, True, False)
    """
    if not counted:
        return False
    if counted >= num_ctx - 1 or counted < size * LEAST_SHARE:
        return True
    # No text has more tokens than bytes, so a shorter one was not cut.
    return size > num_ctx and counted - num_ctx // 2 in (1, 2, 3)


def _alternatives(answer: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return (token, log-probability) of the first token's alternatives; empty without any."""
    entries = answer.get("logprobs") or []
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        return []
    found = entries[0].get("top_logprobs") or []
    return [(str(one.get("token", "")), float(one.get("logprob", 0.0))) for one in found]


def _card(
    facts: Facts, version: str, address: str, num_ctx: int, template: ChatTemplate
) -> ModelCard:
    around = hashlib.sha256(template.around(MARK).encode()).hexdigest()[:8]
    return ModelCard(
        name=facts.name,
        family=facts.family,
        layers=facts.layers,
        hidden_size=facts.hidden_size,
        parameters=parameter_count(facts.parameters),
        digest=f"sha256:{facts.digest[:24]}",
        precision=facts.quantisation or "unknown",
        source=f"{address}/{facts.name}",
        device=f"Ollama at {address}",
        server=f"ollama {version}",
        concurrent=True,
        options=f"num_ctx={num_ctx},chat={around}",
        context=num_ctx,
    )


def version_of(server: str) -> tuple[int, ...]:
    """Read the numbers of a server's version.

    >>> version_of("ollama 0.12.11"), version_of("ollama 0.33.0-rc2")
    ((0, 12, 11), (0, 33, 0))
    """
    numbers = server.rpartition(" ")[2].partition("-")[0].split(".")
    return tuple(int(number) for number in numbers if number.isdigit())


def parameter_count(text: str) -> int:
    """Read '8.0B' or '134.52M'; 0 where it cannot be read.

    >>> parameter_count("134.52M"), parameter_count("")
    (134520000, 0)
    """
    scale = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(text[-1:].upper(), 0.0)
    try:
        return round(float(text[:-1]) * scale)
    except ValueError:
        return 0
