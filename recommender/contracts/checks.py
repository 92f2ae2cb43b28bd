"""What is looked at in every answer of a backend, whatever it was asked.

Every assertion says what it found, because pytest does not look into a package that is installed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from string import ascii_uppercase

from recommender.backends import Ability, Completion, Prompt, Scores
from storage.errors import BadSetting

EXACT = 1e-6
REFUSALS: dict[Ability, tuple[str, ...]] = {
    "letters": ("letter",),
    "likelihood": ("likelihood",),
    "text": ("text",),
    "json": ("json", "schema"),
    "similarity": ("embedding", "similar"),
}
"""What a refusal must speak of, one of the words at least."""


def check_logprobs(found: Scores) -> None:
    """Every number is the logarithm of a probability, and finite."""
    wrong = [value for value in found.logprobs if not -math.inf < value <= EXACT]
    assert not wrong, f"no logarithms of probabilities: {wrong}"


def check_letters(prompt: Prompt, found: Scores) -> None:
    """One score a label, and with what is outside them a distribution.

    A label that `details['missing']` names was not read: its score is a bound from above.
    """
    count = len(prompt.candidates)
    assert len(found.logprobs) == count, f"{len(found.logprobs)} scores for {count} labels"
    assert len(found.tokens) == count, f"tokens of {len(found.tokens)} of {count} labels"
    check_logprobs(found)
    bounds = _places(found.details.get("missing"))
    read = [value for place, value in enumerate(found.logprobs) if place not in bounds]
    total = math.fsum(map(math.exp, read)) + found.outside
    assert 0 <= total <= 1.02, f"probabilities add up to {total:.3f}"
    assert 0 <= found.history_shown <= len(prompt.history), f"shown: {found.history_shown}"


def check_likelihoods(titles: Sequence[str], found: Scores) -> None:
    """One score a title, and a count of its tokens."""
    assert len(found.logprobs) == len(titles), f"{len(found.logprobs)} scores for {len(titles)}"
    assert len(found.tokens) == len(titles), f"tokens of {len(found.tokens)} of {len(titles)}"
    assert all(count > 0 for count in found.tokens), f"a title without a token: {found.tokens}"
    check_logprobs(found)


def check_cosines(prompt: Prompt, found: Sequence[float]) -> None:
    """One cosine a candidate."""
    count = len(prompt.candidates)
    assert len(found) == count, f"{len(found)} cosines for {count} candidates"
    assert all(abs(value) <= 1.001 for value in found), f"no cosines: {found}"


def check_ranking(prompt: Prompt, done: Completion) -> None:
    """JSON by the schema, of letters that were offered."""
    labels = ascii_uppercase[: len(prompt.candidates)]
    try:
        found = json.loads(done.text)
    except ValueError as error:
        raise AssertionError(f"no JSON: {done.text!r}") from error
    named = found.get("ranking") if isinstance(found, dict) else None
    assert isinstance(named, list), f"another schema: {found}"
    assert len(named) == len(labels), f"{len(named)} letters of {len(labels)}: {named}"
    assert set(named) <= set(labels), f"letters that were not offered: {named}"


def check_refusal(name: str, ability: Ability, attempt: Callable[[], object]) -> None:
    """The attempt is refused, by `BadSetting` that says who cannot do what."""
    try:
        found = attempt()
    except BadSetting as error:
        said = error.what
    else:
        raise AssertionError(f"{name!r} does not declare {ability!r}, and answered {found!r}")
    assert name in said, f"a refusal must name {name!r}: {said!r}"
    spoken_of = any(word in said.lower() for word in REFUSALS[ability])
    assert spoken_of, f"a refusal of {ability!r} must speak of it: {said!r}"


def _places(missing: object) -> set[object]:
    return set(missing) if isinstance(missing, list | tuple) else set()
