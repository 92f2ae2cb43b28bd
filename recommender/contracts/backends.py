"""The contract of a backend: shapes, signs, order, refusals, calm in the face of hostile titles.

What an answer is worth is measured elsewhere; here it only has to be one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from string import ascii_uppercase
from typing import ClassVar, get_args

from recommender.asking.rankings import ranking_schema
from recommender.backends import Ability, Backend, Completion, Prompt, Scores
from recommender.chat_prompts import reason_turn
from recommender.contracts.checks import (
    EXACT,
    check_cosines,
    check_letters,
    check_likelihoods,
    check_ranking,
    check_refusal,
)
from recommender.contracts.questions import (
    HISTORY,
    HOSTILE,
    TITLES,
    can,
    letters,
    numbers,
    prompts,
    ranked,
    turned,
)

THREADS = 4


class BackendContract:
    """Tests of one backend. Override `backend`, and what is different about yours."""

    abilities: ClassVar[Sequence[Ability] | None] = None
    """What it must declare; None leaves that to itself."""
    noise: ClassVar[float] = 0.0
    """By how much an answer may move when the same is asked again, in nats; 0 is exact."""
    rounding: ClassVar[float] = 1e-3
    """By how much a score may move with the order of those that it is asked for with."""
    obvious: ClassVar[Prompt | None] = None
    """A question whose first candidate is beyond doubt the likeliest, wherever it stands; None
    where the model is too small to be sure of anything."""

    def backend(self) -> Backend:
        """Return the backend that is tested."""
        raise NotImplementedError("a contract is tested by a class that overrides backend()")

    def test_it_describes_itself_and_stays_the_same(self) -> None:
        """Name, digest and key are there, and the card of today is that of tomorrow."""
        one = self.backend()
        card = one.describe()
        assert card.name.strip(), "a card needs a name"
        assert card.digest.strip(), "a card needs a digest: labels are bound to it"
        assert card.key.strip(), "a card needs a key: labels are kept under it"
        for asked in numbers(one, text=False):
            asked()
        assert one.describe() == card, "the card is another one after questions"
        assert self.backend().describe().key == card.key, "opened again it is another model"

    def test_its_abilities_are_known_words(self) -> None:
        """An ability is one of those the protocol knows, and there is one at least."""
        found = self.backend().describe().abilities
        assert found, "a backend without abilities cannot be asked"
        unknown = set(found) - set(get_args(Ability))
        assert not unknown, f"no abilities: {unknown}; there are {', '.join(get_args(Ability))}"
        wanted = set(found) if self.abilities is None else set(self.abilities)
        assert set(found) == wanted, f"it declares {found} instead of {self.abilities}"

    def test_letters_have_one_log_probability_each(self) -> None:
        """What is on the letters and outside of them is a distribution."""
        one = self.backend()
        for prompt in prompts(one, "letters"):
            check_letters(prompt, letters(one, prompt))

    def test_letters_are_in_the_order_of_the_labels(self) -> None:
        """A score belongs to the label at its place, whichever labels are given."""
        one = self.backend()
        if not can(one, "letters"):
            return
        rows = [
            letters(one, Prompt(HISTORY, turned(TITLES, by))).logprobs for by in range(0, 20, 5)
        ]
        falling = [list(row) == sorted(row, reverse=True) and len(set(row)) > 1 for row in rows]
        assert not all(falling), "letters come back sorted by probability"
        for by in range(len(self.obvious.candidates) if self.obvious else 0):
            assert self.obvious
            offered = turned(self.obvious.candidates, by)
            names = ascii_uppercase[: len(offered)]
            for labels in (names, names[::-1]):
                prompt = Prompt(self.obvious.history, offered, self.obvious.noun)
                row = one.score(prompt, labels).logprobs
                best = offered[row.index(max(row))]
                assert best == self.obvious.candidates[0], f"{best!r} of {offered} as {labels}"

    def test_likelihoods_are_one_a_title(self) -> None:
        """Each title has a score and its tokens, with a history and with none."""
        one = self.backend()
        for prompt in prompts(one, "likelihood"):
            titles = [*prompt.candidates, prompt.candidates[0]]
            for found in (one.likelihood(prompt, titles), one.unconditional(titles)):
                check_likelihoods(titles, found)
                both = [found.logprobs[0]], [found.logprobs[-1]]
                self._same(*both, "for a title that came twice", self.rounding)

    def test_likelihoods_follow_their_titles(self) -> None:
        """A title's score does not depend on where it stands among others."""
        one = self.backend()
        for prompt in prompts(one, "likelihood"):
            titles = list(prompt.candidates)
            asks: list[Callable[[Sequence[str]], Scores]] = [
                partial(one.likelihood, prompt),
                one.unconditional,
            ]
            for ask in asks:
                back = ask(titles[::-1]).logprobs[::-1]
                self._same(ask(titles).logprobs, back, "in another order", self.rounding)

    def test_text_comes_in_pieces_and_can_be_left(self) -> None:
        """A stream is text, may be closed early, and joins to what `complete` returns."""
        one = self.backend()
        if not can(one, "text"):
            return
        turn = reason_turn(Prompt(HISTORY), TITLES[0])
        pieces = list(one.stream(turn, limit=12))
        assert all(isinstance(piece, str) for piece in pieces), f"not all is text: {pieces}"
        left = iter(one.stream(turn, limit=12))
        next(left, None)
        close: Callable[[], object] = getattr(left, "close", lambda: None)
        close()
        done = one.complete(turn, limit=12)
        assert isinstance(done, Completion), f"complete() returned {done!r}"
        assert min(done.tokens, done.seconds) >= 0, f"less than nothing: {done}"
        joined = "".join(pieces)
        assert self.noise or joined == done.text, f"{joined!r} streamed, {done.text!r} completed"

    def test_json_keeps_to_its_schema(self) -> None:
        """A ranking is JSON, and holds nothing but letters that were offered."""
        one = self.backend()
        for prompt in prompts(one, "json"):
            check_ranking(prompt, ranked(one, prompt))

    def test_similarities_are_cosines(self) -> None:
        """Each candidate has a cosine, wherever it stands."""
        one = self.backend()
        for prompt in prompts(one, "similarity"):
            found = one.similarity(prompt).logprobs
            check_cosines(prompt, found)
            turned_round = Prompt(prompt.history, prompt.candidates[::-1], prompt.noun)
            back = one.similarity(turned_round).logprobs[::-1]
            self._same(found, back, "in another order", self.rounding)

    def test_what_it_cannot_do_it_refuses_by_name(self) -> None:
        """A refusal is `BadSetting`, and says who cannot do what."""
        one = self.backend()
        prompt, turn, titles = Prompt(HISTORY, TITLES[:2]), "Say anything.", TITLES[:2]
        attempts: dict[Ability, tuple[Callable[[], object], ...]] = {
            "letters": (lambda: one.score(prompt, "AB"),),
            "likelihood": (
                lambda: one.likelihood(prompt, titles),
                lambda: one.unconditional(titles),
            ),
            "text": (lambda: list(one.stream(turn)), lambda: one.complete(turn)),
            "json": (lambda: one.complete(turn, schema=ranking_schema("AB")),),
            "similarity": (lambda: one.similarity(prompt),),
        }
        for ability, several in attempts.items():
            for attempt in () if can(one, ability) else several:
                check_refusal(one.describe().name, ability, attempt)

    def test_the_same_question_has_the_same_answer(self) -> None:
        """Asked twice, an answer moves by no more than the noise that is stated."""
        for asked in numbers(self.backend(), text=not self.noise):
            self._same(asked(), asked(), "asked again")

    def test_hostile_titles_change_nothing_but_scores(self) -> None:
        """Line ends, control tokens, 10,000 characters and nothing at all are only titles."""
        one = self.backend()
        for prompt in (Prompt((), HOSTILE), Prompt(HOSTILE, HOSTILE)):
            if can(one, "letters"):
                check_letters(prompt, letters(one, prompt))
            if can(one, "likelihood"):
                check_likelihoods(HOSTILE, one.likelihood(prompt, HOSTILE))
                check_likelihoods(HOSTILE, one.unconditional(HOSTILE))
            if can(one, "similarity"):
                check_cosines(prompt, one.similarity(prompt).logprobs)
            if can(one, "json"):
                check_ranking(prompt, ranked(one, prompt))
            if can(one, "text"):
                one.complete(reason_turn(prompt, HOSTILE[1]), limit=4)

    def test_four_at_once_are_answered_like_one(self) -> None:
        """A backend that says it is concurrent answers four threads as it does one."""
        one = self.backend()
        if not one.describe().concurrent:
            return
        asked = numbers(one, text=not self.noise)
        alone = [question() for question in asked]
        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(lambda question: question(), asked * THREADS))
        for number, row in enumerate(found):
            self._same(alone[number % len(asked)], row, "asked beside others")

    def _same(
        self, first: Sequence[float], then: Sequence[float], when: str, least: float = EXACT
    ) -> None:
        assert len(first) == len(then), f"{len(then)} scores {when}, {len(first)} before"
        moved = max((abs(a - b) for a, b in zip(first, then, strict=True)), default=0.0)
        assert moved <= max(self.noise, least), f"a score moved by {moved:.3g} {when}"
