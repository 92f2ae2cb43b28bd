from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from distill.arms import Arm, TrainedArm
from distill.asking import Asked, Chosen, Gate
from distill.config import DistilConfig
from distill.consulting import Consultant, Consulted, Fusion, how_chosen, how_fused
from distill.data import Distillation
from distill.ground import Ground
from distill.register import Entry, register, report, verdict
from distill.teaching import Taught
from distill.whose import describe
from recommender.asking.answering import Texts
from recommender.asking.evidence import Listener
from recommender.backends import ModelCard, Refusing
from recommender.comparison import compare_runs
from recommender.evaluation import Evaluation, evaluate, evaluate_candidates
from recommender.scoring import Scoring
from recommender.serving import chosen_scoring
from recommender.significance import paired_interval
from storage.records import Artifact, LayerProfile, Run
from storage.store import Store
from tests.distill.conftest import configured
from tests.distill.test_what_is_taught import taught as answers
from tests.tiny import add_shop

CARD = ModelCard("smol", "llama", 30, 576, 134_515_008, "sha256:ab", "float32", "x")
WAYS = {"likelihood": (0.3, 1.7), "minus+cosine": (0.5, 1.2)}
NOBODY = Asked((), (), (), ())
CHOSEN = Chosen(Scoring("minus+cosine", 2.5, 100, WAYS), 40.0, 0.5, {}, NOBODY, (), ())
RATIO = {"ratio": 1.5, "ratio_low": 1.2, "ratio_high": 1.9}
PROFILE = LayerProfile("p1", 1, "smol", "fisher", 32, (1.0,), (0.9,), (1.1,), "a", RATIO)
TAUGHT = replace(answers(), profile=PROFILE)
LESSON = Distillation([np.array([0])], np.array([[1, 2]]), np.array([[0.5, 0.5]], dtype=np.float32))
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def gate() -> Gate:
    scores, users = [np.array([2.0, 1.0, 0.0])] * 12, np.arange(12) // 2
    teacher, *others = (
        evaluate_candidates(name, "gate/candidates", scores, [target] * 12, users, resamples=20)
        for target, name in enumerate(("teacher", "popularity", "item-knn"))
    )
    return Gate(teacher, tuple(others), 0.611, 0.04, 0.125, NOBODY)


def said_of(
    shop: Store, ground: Ground, *, chosen: Chosen = CHOSEN, taught: Taught = TAUGHT
) -> Consulted:
    """What was learnt from one teacher; nobody is asked any more."""
    listener = Listener(shop, Refusing(), Texts([], "", 1), ground.vectors, ground.category.id)  # type: ignore[arg-type]
    return Consulted(ground, (Consultant(listener, CARD, chosen, gate()),), None, taught)


def with_a_second(said: Consulted) -> Consulted:
    """The same, and what was learnt from another one, who is asked by letters."""
    (first,) = said.teachers
    scoring = Scoring("letters", 0.5, 100, {}, prior=(0.5, -0.25, -0.25), orders=4)
    card = replace(CARD, name="big", server="ollama 0.32.15")
    second = replace(first, card=card, chosen=replace(CHOSEN, scoring=scoring))
    return replace(said, teachers=(first, second), fusion=Fusion((0.75, 0.25), 1.5, (1.75, 2.0)))


@pytest.fixture
def entries(ground: Ground) -> list[Entry]:
    """Item-kNN in the place of a distilled student, popularity in that of a plain one."""
    knn, popular = (
        evaluate(ranker, ground.split, "test", resamples=50)
        for ranker in (ground.knn, ground.popularity)
    )

    def arm(name: str, best: float, lesson: Distillation | None = None) -> TrainedArm:
        artifact = Artifact(f"key of {name}", "student", "", {}, 400_000)
        return TrainedArm(Arm(name, configured(), lesson), artifact, best, 7, 3.2)

    return [
        Entry("distilled", "student", knn, arm("distilled", 0.2, LESSON)),
        Entry("undistilled", "student", popular, arm("undistilled", 0.1)),
        Entry("popularity", "baseline", popular, None),
    ]


def registered(
    shop: Store,
    ground: Ground,
    entries: list[Entry],
    config: DistilConfig | None = None,
    *,
    chosen: Chosen = CHOSEN,
    taught: Taught = TAUGHT,
) -> list[Run]:
    config = config or configured()
    said = said_of(shop, ground, chosen=chosen, taught=taught)
    return register(shop, config, said.ground, said, entries, now=lambda: NOON)


def test_every_ranker_is_a_run_with_figures_and_rows(
    shop: Store, ground: Ground, entries: list[Entry]
) -> None:
    runs = registered(shop, ground, entries)
    assert [(run.name, run.kind) for run in runs] == [
        ("distilled", "student"),
        ("undistilled", "student"),
        ("popularity", "baseline"),
        ("teacher smol", "teacher"),
    ]
    assert [run.artifact for run in runs[:2]] == ["key of distilled", "key of undistilled"]
    assert [run.selection for run in runs] == [0.2, 0.1, None, None]
    assert shop.runs.list() == sorted(runs, key=lambda run: run.id)
    for run, entry in zip(runs, entries, strict=False):
        kept = {one.metric: one for one in shop.runs.measurements(run.id)}
        assert set(kept) == set(entry.evaluation.table)
        assert kept["ndcg@10"].value == entry.evaluation.table["ndcg@10"].value
        rows = shop.artifacts.load_arrays(
            shop.artifacts.open(kept["ndcg@10"].artifact), "rows.safetensors"
        )
        np.testing.assert_array_equal(rows["ranks"], entry.evaluation.ranks)
    difference = compare_runs(shop, runs[0], runs[1])[0].difference.value
    tables = [entry.evaluation.table["ndcg@10"].value for entry in entries]
    assert difference == pytest.approx(tables[0] - tables[1])


def test_the_gate_keeps_everyone_who_was_on_it(
    shop: Store, ground: Ground, entries: list[Entry]
) -> None:
    teacher = registered(shop, ground, entries)[-1]
    mrr = {m.scope: m.value for m in shop.runs.measurements(teacher.id) if m.metric == "mrr"}
    assert mrr == {
        "gate/candidates": 1.0,
        "gate/candidates/popularity": 0.5,
        "gate/candidates/item-knn": pytest.approx(1 / 3),
    }


def test_a_run_knows_what_made_it(shop: Store, ground: Ground, entries: list[Entry]) -> None:
    made = registered(shop, ground, entries, replace(configured(), min_rating=4.0))[0].config
    assert made["scoring"] == {"way": "minus+cosine", "temperature": 2.5}
    assert (made["model"], made["requests"], made["profile"]) == (CARD.key, 12, "p1")
    assert (made["min_rating"], made["split"]) == (4.0, "temporal")
    assert (made["data"], made["synthetic"]) == (ground.category.digest, True)


def test_the_same_again_changes_nothing(shop: Store, ground: Ground, entries: list[Entry]) -> None:
    first = registered(shop, ground, entries)
    figures = [shop.runs.measurements(run.id) for run in first]
    again = registered(shop, ground, entries)
    assert [run.id for run in again] == [run.id for run in first]
    assert len(shop.runs.list()) == 4
    assert [shop.runs.measurements(run.id) for run in again] == figures


def test_a_run_that_was_stopped_before_its_figures_gets_them(
    shop: Store, ground: Ground, entries: list[Entry]
) -> None:
    expected = registered(shop, ground, entries)
    with Store.open(shop.artifacts.root.parent / "other.sqlite", shop.artifacts.root) as other:
        add_shop(other)
        other.runs.add(expected[0])
        other.runs.add(expected[3])
        registered(other, ground, entries)
        for run in expected:
            assert len(other.runs.measurements(run.id)) == len(shop.runs.measurements(run.id)) > 0


CHANGED = {
    "seed": {"distilled", "undistilled", "popularity", "teacher smol"},
    "split": {"distilled", "undistilled", "popularity", "teacher smol"},
    "student": {"distilled", "undistilled"},
    "teacher": {"distilled", "teacher smol"},
    "scoring": {"distilled", "teacher smol"},
    "requests": {"distilled", "teacher smol"},
    "method": {"distilled"},
}
"""What a change makes anew. A baseline, or a student that hears nobody, stays the run it was."""


@pytest.mark.parametrize("change", CHANGED)
def test_what_is_made_otherwise_is_another_run(
    shop: Store, ground: Ground, entries: list[Entry], change: str
) -> None:
    first = registered(shop, ground, entries)
    config, chosen, taught = configured(), CHOSEN, TAUGHT
    if change == "seed":
        config = replace(config, seed=1)
    elif change == "split":
        config = replace(config, split="leave-last-out")
    elif change == "student":
        config = config.with_student(epochs=99)
    elif change == "teacher":
        config = config.with_teacher(spec="other")
    elif change == "method":
        config = replace(config, method="uniform")
    elif change == "scoring":
        chosen = replace(chosen, scoring=replace(chosen.scoring, temperature=3.0))
    else:
        taught = replace(answers(20), profile=PROFILE)
    other = registered(shop, ground, entries, config, chosen=chosen, taught=taught)
    ids = {run.id for run in first}
    assert {run.name for run in other if run.id not in ids} == CHANGED[change]


def test_a_last_training_does_not_make_another_run(
    shop: Store, ground: Ground, entries: list[Entry]
) -> None:
    first = registered(shop, ground, entries)
    final = registered(shop, ground, entries, replace(configured(), final=True))
    assert [run.id for run in final] == [run.id for run in first]


def test_several_teachers_are_a_run_each_and_their_shares_are_kept(
    shop: Store, ground: Ground, entries: list[Entry]
) -> None:
    alone = said_of(shop, ground)
    both = with_a_second(alone)
    runs = register(shop, configured(), both.ground, both, entries, now=lambda: NOON)
    assert [(run.name, run.kind) for run in runs[3:]] == [
        ("teacher smol", "teacher"),
        ("teacher big", "teacher"),
    ]
    keys = [one.card.key for one in both.teachers]
    assert [run.config["model"] for run in runs[3:]] == keys
    distilled, undistilled, popularity, *teachers = runs
    for run in (distilled, *teachers):
        assert run.config["fusion"] == {keys[0]: 0.75, keys[1]: 0.25}
    # What was taught by one is another student; who heard nobody is the same.
    first = register(shop, configured(), alone.ground, alone, entries, now=lambda: NOON)
    same = {run.id for run in first} & {run.id for run in runs}
    assert same == {undistilled.id, popularity.id}
    assert "fusion" not in first[0].config


@pytest.mark.parametrize("orders", [1, 4])
def test_a_live_answer_by_letters_finds_all_it_needs(
    shop: Store, ground: Ground, entries: list[Entry], orders: int
) -> None:
    scoring = Scoring("letters", 0.5, 100, {}, prior=(0.5, -0.25, -0.25), orders=orders)
    registered(shop, ground, entries, chosen=replace(CHOSEN, scoring=scoring))
    found = chosen_scoring(shop, ground.category, CARD.key)
    assert found == replace(scoring, requests=0)


def test_the_report_says_what_was_measured(
    shop: Store, ground: Ground, entries: list[Entry]
) -> None:
    said = list(report(configured(), ground, said_of(shop, ground), entries))
    assert said[0] == (
        "gate: teacher MRR 1.000 [1.000, 1.000] on 12 validation requests of 6 people with 6 "
        "candidates (popularity 0.500, item-knn 0.333, chance 0.611); calibration error 0.125"
    )
    assert said[1] == ("layers: Fisher over 32 requests, last quarter over first 1.50 [1.20, 1.90]")
    assert said[2] == "distilled: 0.4 MB, best epoch 7, trained in 3 s"
    assert said[4].startswith("the distilled student beats the undistilled one: NDCG@10 +0.0")
    assert said[5] == "these are figures of a synthetic sample, and no results"
    assert len(said) == 6


def test_without_weights_or_a_second_student_there_is_less_to_say(
    shop: Store, ground: Ground, entries: list[Entry]
) -> None:
    real = replace(ground, category=replace(ground.category, synthetic=False))
    blind = said_of(shop, real, taught=replace(TAUGHT, profile=None))
    said = list(report(configured(), real, blind, entries[:1]))
    assert said[1:] == [
        "layers: skipped: no weights",
        "distilled: 0.4 MB, best epoch 7, trained in 3 s",
    ]


def test_each_teacher_has_a_line_and_their_fusion_one(
    shop: Store, ground: Ground, entries: list[Entry]
) -> None:
    both = with_a_second(said_of(shop, ground))
    said = list(report(configured(), ground, both, entries))
    assert [line[:16] for line in said[:3]] == ["gate: teacher MR"] * 2 + ["fused by validat"]
    assert said[2] == (
        "fused by validation likelihood: smol 0.75 (alone 1.750), big 0.25 (alone 2.000); "
        "the mixture 1.500 nats"
    )
    assert both.fusion is not None
    assert said[2] == how_fused(both.teachers, both.fusion)


def ranked(ranks: list[int]) -> Evaluation:
    scores = [np.array([0.0, *[1.0] * (rank - 1), *[-1.0] * 20]) for rank in ranks]
    users = np.arange(len(ranks))
    return evaluate_candidates("x", "x", scores, [0] * len(ranks), users, resamples=20)


def test_the_verdict_is_by_the_paired_difference() -> None:
    good, poor = ranked([1, 2, 1, 3] * 20), ranked([4, 5, 9, 12] * 20)
    won = verdict(good, poor, 0)
    assert won.startswith("the distilled student beats the undistilled one: NDCG@10 +0.")
    assert "%" in won
    assert won.endswith("paired")
    between = paired_interval(
        good.per_request("ndcg@10"), poor.per_request("ndcg@10"), good.users, seed=0
    )
    assert f"[{between.low:+.4f}, {between.high:+.4f}]" in won
    for a, b in ((poor, good), (good, good)):
        assert verdict(a, b, 0).startswith("the distilled student does not beat")
    mixed = ranked([1, 9] * 20), ranked([9, 1] * 20)
    assert "does not beat" in verdict(*mixed, 0)  # the interval includes zero


def test_a_student_that_finds_nothing_has_no_share() -> None:
    nothing = ranked([12] * 8)
    assert verdict(ranked([1] * 8), nothing, 0) == (
        "the distilled student beats the undistilled one: "
        "NDCG@10 +1.0000 [+1.0000, +1.0000], paired"
    )


def test_who_teaches_and_how_is_said() -> None:
    assert "teacher smol: llama, 30 layers, 134.5 M parameters" in describe(CARD)
    server = replace(CARD, layers=0, parameters=0, device="box1", server="ollama 0.32.15")
    assert describe(server) == "teacher smol: llama, float32, on box1, ollama 0.32.15"
    assert how_chosen(CHOSEN) == (
        "scoring by minus+cosine at temperature 2.50, chosen on 100 validation requests "
        "(MRR: likelihood 0.300, minus+cosine 0.500)"
    )
    turned = replace(CHOSEN, scoring=replace(CHOSEN.scoring, orders=4))
    assert "minus+cosine in 4 orders at temperature 2.50" in how_chosen(turned)
