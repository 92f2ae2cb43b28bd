"""The questions of a noise measurement, each under the condition it is asked in.

Apart from `noise`, which makes figures of the answers: here is what is done to a server before
and while it is asked, and in which order, since every question changes what is cached.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from string import ascii_uppercase
from typing import Any

from recommender.asking.orders import rotated, shifts
from recommender.backends import Backend, Prompt, Scores
from recommender.backends.errors import CannotTeach
from recommender.backends.ollama.backend import OllamaBackend
from recommender.noise.moves import HOT, REPEATED, follows_temperature

COLD, COMPANY, ELSEWHERE = "cold", "in company", "elsewhere"
CONDITIONS = (COLD, REPEATED, COMPANY, ELSEWHERE)
ORDER, WIDE = "in another order", "with more letters"

TIMES = 3
"""How often a question is repeated."""
OTHERS = (1, 3)
"""How many others are under way beside it."""
ORDERS = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One question, and under which condition it is asked."""

    question: int
    condition: str
    ask: Callable[[], Scores]


def steps_of(
    members: Sequence[Backend], prompts: Sequence[Prompt], wide: Sequence[Prompt] = ()
) -> Iterator[Step]:
    """Yield every question in the order in which they must be asked.

    Args:
        members: one backend a host; the first is asked under every condition.
        prompts: the questions that are compared.
        wide: those that are asked once, for the letters that come back.
    """
    first = members[0]
    for number, prompt in enumerate(prompts):
        ask = partial(_ask, first, prompt)
        another = _unlike(prompt)
        if number == 0 and isinstance(first, OllamaBackend):
            yield Step(number, COLD, partial(_ask_loaded_again, first, prompt))
        else:
            yield Step(number, COLD, partial(_ask_after, first, another, prompt))
        for _ in range(TIMES):
            yield Step(number, REPEATED, ask)
        if first.describe().concurrent:
            beside = [partial(_ask, first, _turned(another, turn)) for turn in range(max(OTHERS))]
            for count in OTHERS:
                yield Step(number, COMPANY, partial(in_company, ask, beside[:count]))
        for other in members[1:]:
            yield Step(number, ELSEWHERE, partial(_ask, other, prompt))
        for shift in shifts(len(prompt.candidates), ORDERS)[1:]:
            yield Step(number, ORDER, partial(_ask, first, _turned(prompt, shift)))
    for number, prompt in enumerate(wide):
        yield Step(number, WIDE, partial(_ask, first, prompt))


def refuse_heated(backend: Backend, prompt: Prompt) -> None:
    """Check that a server's log-probabilities are those before sampling, by asking at two heats.

    Raises:
        CannotTeach: they follow the temperature.
    """
    if not isinstance(backend, OllamaBackend):
        return
    labels = ascii_uppercase[: len(prompt.candidates)]
    hotter = _Hotter(backend.client, backend.describe(), backend.template, num_ctx=backend.num_ctx)
    backend.score(prompt, labels)  # so that the two that count find the same in the cache
    cold, hot = (_alternatives(one.score(prompt, labels)) for one in (backend, hotter))
    if follows_temperature(cold, hot):
        raise CannotTeach(
            f"{backend.describe().server} gives other log-probabilities at temperature {HOT} than "
            "at 0: they are those of its sampling, not of the model",
            next_step="another version of Ollama; 0.12.11 to 0.32 give the model's own",
        )


def in_company(ask: Callable[[], Scores], others: Sequence[Callable[[], object]]) -> Scores:
    """Ask while others are asked without a pause, each on a thread of its own."""
    done = threading.Event()
    ready = threading.Barrier(len(others) + 1)

    def keep_asking(other: Callable[[], object]) -> None:
        ready.wait()
        while True:
            other()
            if done.is_set():
                return

    with ThreadPoolExecutor(len(others)) as pool:
        beside = [pool.submit(keep_asking, other) for other in others]
        ready.wait()
        try:
            answer = ask()
        finally:
            done.set()
    for one in beside:
        one.result()
    return answer


class _Hotter(OllamaBackend):
    """The same model, asked at another temperature."""

    def fields(self, text: str, *, predict: int, top: int = 0) -> dict[str, Any]:
        found = super().fields(text, predict=predict, top=top)
        return {**found, "options": {**found["options"], "temperature": HOT}}


def _ask(backend: Backend, prompt: Prompt) -> Scores:
    return backend.score(prompt, ascii_uppercase[: len(prompt.candidates)])


def _ask_after(backend: Backend, other: Prompt, prompt: Prompt) -> Scores:
    _ask(backend, other)
    return _ask(backend, prompt)


def _ask_loaded_again(backend: OllamaBackend, prompt: Prompt) -> Scores:
    """Ask a model that was unloaded before, and loaded again with the options of every request."""
    name = backend.describe().name
    backend.client.generate({"model": name, "keep_alive": 0}, patient=True)
    backend.client.generate(backend.fields("", predict=1), patient=True)
    return _ask(backend, prompt)


def _unlike(prompt: Prompt) -> Prompt:
    """Return a question as long that begins otherwise, so that nothing read of one serves both."""
    history = (*reversed(prompt.candidates), *reversed(prompt.history))
    return Prompt(history, tuple(reversed(prompt.candidates)), prompt.noun)


def _turned(prompt: Prompt, shift: int) -> Prompt:
    return replace(prompt, candidates=rotated(prompt.candidates, shift))


def _alternatives(scores: Scores) -> list[tuple[str, float]]:
    found = scores.details.get("top")
    return [(str(token), float(p)) for token, p in found] if isinstance(found, list) else []
