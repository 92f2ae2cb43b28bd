"""How much recorded answers of two real servers move, and what noise is measured on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recommender.asking.answering import Texts
from recommender.backends import Scores
from recommender.config import Settings
from recommender.events import Event
from recommender.letters import read_letters
from recommender.models import register
from recommender.noise.measuring import NoiseMeasured
from recommender.noise.moves import (
    HOT,
    Reading,
    follows_temperature,
    largest_move,
    moves_in,
    reading,
)
from recommender.noise.questions import measure_teacher, questions
from storage.errors import BadData, UnknownName
from storage.store import Store
from tests.ollama.replay import VERSIONS, Exchange, cases
from tests.tiny import SHOP, add_shop

LETTERS = "ABCDEFGHIJ"


def measured(events: Iterator[Event]) -> tuple[list[Event], NoiseMeasured]:
    said = list(events)
    last = said[-1]
    assert isinstance(last, NoiseMeasured)
    return said, last


# What real servers were recorded to say.


def read_again(one: Exchange) -> Reading:
    (entry,) = one.parsed["logprobs"]
    read = read_letters([(t["token"], t["logprob"]) for t in entry["top_logprobs"]], LETTERS)
    missing = [place for place, gone in enumerate(read.missing) if gone]
    return reading(Scores(read.logprobs, (1,) * 10, details={"missing": missing}))


def recorded(version: str) -> dict[str, list[Reading]]:
    """Return every recorded answer to eight orders of one question, by the prompt."""
    answers: dict[str, list[Reading]] = {}
    for name in ("score-repeat", "score-letters-rotations", "score-parallel"):
        for one in cases(version)[name].exchanges:
            answers.setdefault(one.json["prompt"], []).append(read_again(one))
    assert len(answers) == 8 + 1  # one of the rotations is of no other file
    return answers


def beside_others(version: str) -> list[dict[str, list[Reading]]]:
    """Return eight answers that were given while others were, and the same in sequence."""
    several = [read_again(one) for one in cases(version)["score-parallel"].exchanges]
    pairs = zip(several[:8], several[8:], strict=True)
    return [{"in company": [a], "repeated": [b]} for a, b in pairs]


def test_recorded_answers_of_the_old_server_do_not_move() -> None:
    company = moves_in("in company", beside_others("0.24.0"))
    assert (company.largest, company.flips, company.comparisons) == (0.0, 0, 8)
    assert max(map(largest_move, recorded("0.24.0").values())) == 0.0


def test_recorded_answers_of_the_new_server_move() -> None:
    repeated = [read_again(one) for one in cases("0.32.15")["score-repeat"].exchanges]
    assert (len(repeated), largest_move(repeated)) == (5, 0.0)  # everything in the cache
    company = moves_in("in company", beside_others("0.32.15"))
    assert company.largest == pytest.approx(0.1307, abs=1e-4)
    assert (company.flips, company.comparisons) == (2, 8)
    # Over all conditions: after other orders, with others beside, and repeated.
    floor = max(map(largest_move, recorded("0.32.15").values()))
    assert floor == pytest.approx(0.1805, abs=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_log_probabilities_do_not_follow_the_temperature(version: str) -> None:
    cold, hot = (
        [(t["token"], t["logprob"]) for t in one.parsed["logprobs"][0]["top_logprobs"]]
        for one in cases(version)["score-letters-hot"].exchanges
    )
    assert not follows_temperature(cold, hot)
    divided = np.array([p / HOT for _, p in cold])
    divided -= np.log(np.exp(divided).sum())
    heated = [(token, float(p)) for (token, _), p in zip(cold, divided, strict=True)]
    assert follows_temperature(cold, heated)
    # Noise as large as any that was recorded changes neither.
    noise = np.random.default_rng(0).uniform(-0.18, 0.18, size=len(cold))
    for tops, expected in ((hot, False), (heated, True)):
        moved = [(token, p + float(e)) for (token, p), e in zip(tops, noise, strict=True)]
        assert follows_temperature(cold, moved) is expected


def test_sampled_probabilities_of_a_greedy_server_follow_the_temperature() -> None:
    cold = [(" A", -0.1), (" B", -3.0), (" C", -4.0)]
    assert follows_temperature(cold, [(" A", 0.0)])
    assert not follows_temperature([], [])


# Which questions, and the whole measurement kept.


@pytest.fixture
def settings(tmp_path: Path, llama: Path) -> Settings:
    found = Settings(
        data_dir=tmp_path / "data", teacher="tiny", device="cpu", precision="float32", seed=3
    )
    register(found.models, "tiny", str(llama))
    return found


def test_without_data_built_in_titles_are_asked_about(store: Store, settings: Settings) -> None:
    _, found = measured(measure_teacher(store, settings))
    assert found.floor.details["about"] == "built-in titles"
    assert (found.report.questions, len(found.report.places)) == (8, 10)
    assert found.report.coverage == {10: 1.0, 20: 1.0}
    assert store.noise.latest(found.floor.teacher, "") == found.floor


def test_questions_are_of_real_people_and_the_same_for_a_seed(
    store: Store, settings: Settings
) -> None:
    from recommender.noise.questions import category_prompts

    category = add_shop(store, people=30)
    prompts, wide = category_prompts(store, category, settings)
    assert ([len(p.candidates) for p in prompts], len(wide)) == ([10] * 8, 4)
    titles = store.catalogue.item_titles(category.id)
    histories = {
        tuple(titles[i] for i in store.catalogue.history(category.id, person)[-10:]): person
        for person in range(30)
    }
    people = [histories[prompt.history] for prompt in prompts]
    assert len(set(people)) == 8
    for prompt in (*prompts, *wide):
        owned = store.catalogue.history(category.id, histories[prompt.history])
        assert not {titles[i] for i in owned} & set(prompt.candidates)
    assert category_prompts(store, category, settings) == (prompts, wide)
    other = settings.model_copy(update={"seed": 4})
    assert category_prompts(store, category, other)[0] != prompts


def test_a_category_that_is_named_must_be_there(store: Store, settings: Settings) -> None:
    add_shop(store, people=12)
    _, found = measured(measure_teacher(store, settings))
    assert found.floor.details["about"] == SHOP
    with pytest.raises(UnknownName, match="'Books'"):
        list(measure_teacher(store, settings, category="Books"))


def test_a_category_with_nothing_to_choose_from_is_refused() -> None:
    texts = Texts(["a", "b"], "things", 3)
    assert questions(texts, [np.array([0])], seed=0) == ([], [])
    assert questions(texts, [], seed=0) == ([], [])
    (prompt,), _ = questions(texts, [np.array([], dtype=np.int64)], seed=0)
    assert sorted(prompt.candidates) == ["a", "b"]


def test_too_few_items_are_said_before_the_model_is_opened(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.noise.questions.CANDIDATES", 1)
    add_shop(store, people=12)
    missing = settings.model_copy(update={"teacher": "never opened"})
    with pytest.raises(BadData, match="too few to choose from; next: recsys doctor --teacher"):
        list(measure_teacher(store, missing))
