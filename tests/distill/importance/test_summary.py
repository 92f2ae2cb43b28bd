"""Summaries of measured layers against their definitions, written out in loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata, spearmanr

from distill.importance.comparison import against_hybrids, against_nulls, agreement
from distill.importance.criteria import CRITERIA
from distill.importance.effects import probe_states, removals
from distill.importance.findings import findings
from distill.importance.layers import importance
from distill.importance.measures import removal_sets
from distill.importance.statistics.ratios import Estimate
from distill.importance.summary import FEW, ONE_PROFILE, summarise, values_of
from distill.importance.verdict import answer, stability, verdict
from tests.distill.measured import CARD, LAYERS, RESAMPLES, found, measured


def resampled(values: np.ndarray, function, *, resamples: int = RESAMPLES, seed: int = 0):
    """The bootstrap, one resample after another."""
    rng = np.random.default_rng(seed)
    count = len(values)
    drawn = []
    for times in rng.multinomial(count, np.full(count, 1 / count), size=resamples):
        rows = [row for row, n in zip(values, times, strict=True) for _ in range(n)]
        drawn.append(function(np.mean(rows, axis=0)))
    return np.quantile(drawn, [0.025, 0.975])


def quarter_ratio(profile: np.ndarray) -> float:
    width = len(profile) // 4
    return float(np.mean(profile[-width:]) / np.mean(profile[:width]))


def test_a_criterion_is_summarised_as_defined() -> None:
    made = measured()
    one = summarise(made.found, made.null, made.groups, resamples=RESAMPLES)
    values = made.found["fisher-empirical"].values
    c = one.criteria["fisher-empirical"]
    assert c.ratio.value == pytest.approx(quarter_ratio(values.mean(axis=0)))
    np.testing.assert_allclose([c.ratio.low, c.ratio.high], resampled(values, quarter_ratio))
    assert c.depth.value == pytest.approx(spearmanr(values.mean(axis=0), range(LAYERS)).statistic)
    null = made.null["fisher-empirical"].values.mean(axis=0)
    assert c.null_ratio is not None
    assert c.null_ratio.value == pytest.approx(quarter_ratio(null))
    assert c.to_null is not None
    assert c.to_null.value == pytest.approx(
        quarter_ratio(values.mean(axis=0)) / quarter_ratio(null)
    )
    assert c.requests == len(values) == 24
    for n, third in enumerate(("short", "middle", "long")):
        mine = values[[row for row in range(24) if row % 3 == n]]
        assert c.groups["history"][third].value == pytest.approx(quarter_ratio(mine.mean(axis=0)))
    # Leaving layers out was measured on the first half only: both are compared on that half.
    truth = made.found["loo-loss"].values
    assert len(truth) == 12
    tau = kendalltau(values[:12].mean(axis=0), truth.mean(axis=0)).statistic
    assert c.against["loo-loss"].value == pytest.approx(tau)
    assert one.truths == ("loo-loss", "loo-ndcg")
    assert "loo-loss" not in one.criteria["loo-loss"].against


def test_one_profile_has_no_interval_and_says_why() -> None:
    made = measured()
    one = summarise(made.found, resamples=RESAMPLES).criteria["greedy"]
    assert one.requests == 0
    assert one.needed is None
    assert one.halves == ()
    assert math.isnan(one.ratio.low)
    assert one.ratio.reason == ONE_PROFILE
    assert np.isnan(one.profile.low).all()
    assert one.against["loo-loss"].defined
    assert one.null is None
    assert one.null_ratio is None


def test_a_third_of_one_request_says_why_it_has_no_figure() -> None:
    made = found(["fisher-empirical"], 3, 0)
    one = summarise(made, groups={"history": ("short", "short", "long")}, resamples=RESAMPLES)
    groups = one.criteria["fisher-empirical"].groups["history"]
    assert groups["short"].defined
    assert groups["long"].reason == FEW
    with pytest.raises(ValueError, match="nothing was measured"):
        summarise({})


def test_what_is_kept_is_counted_over_resamples() -> None:
    made = measured(names=("fisher-empirical", "greedy"))
    one = summarise(made.found, resamples=RESAMPLES)
    half, quarter = one.kept
    assert (half.keep, quarter.keep) == (4, 2)
    greedy = values_of(made.found["greedy"])
    best = set(np.argsort(-greedy)[:4].tolist())
    assert [int(rate) for rate in half.rates.by_criterion["greedy"]] == [
        int(layer in best) for layer in range(LAYERS)
    ]
    rates = half.rates.by_criterion["fisher-empirical"]
    np.testing.assert_allclose(half.rates.overall, (rates + half.rates.by_criterion["greedy"]) / 2)
    assert half.always == tuple(np.flatnonzero(half.rates.overall >= 0.95))


def test_agreement_is_kendalls_on_common_requests() -> None:
    rng = np.random.default_rng(3)
    values = {"a": rng.normal(size=(10, 6)), "b": rng.normal(size=(7, 6)), "c": rng.normal(size=6)}
    taus = agreement(values, resamples=RESAMPLES)
    expected = kendalltau(values["a"][:7].mean(axis=0), values["b"].mean(axis=0)).statistic
    assert taus.value[0, 1] == taus.value[1, 0] == pytest.approx(expected)
    assert taus.value[0, 0] == 1
    assert taus.low[0, 1] <= taus.value[0, 1] <= taus.high[0, 1]
    assert math.isnan(taus.low[0, 2])
    whole = kendalltau(values["a"].mean(axis=0), values["c"]).statistic
    assert taus.value[0, 2] == pytest.approx(whole)


def test_nulls_and_hybrids_are_what_they_are_called() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(size=(9, 6))
    nulls = against_nulls(truth, resamples=RESAMPLES)
    depth = kendalltau(truth.mean(axis=0), range(6)).statistic
    assert nulls["depth alone"].value == pytest.approx(depth)
    lot = nulls["dealt by lot"]
    assert lot.low < -0.4 < abs(lot.value) < 0.4 < lot.high
    values = {"a": rng.uniform(1, 2, (9, 6)), "b": rng.uniform(0, 9, (8, 6)), "c": truth[:8] ** 3}
    hybrids = against_hybrids(truth, values, ["a", "b"], resamples=RESAMPLES)
    means = {name: one[:8].mean(axis=0) for name, one in values.items()}
    mean_rank = sum(rankdata(one) for one in means.values())
    goal = truth[:8].mean(axis=0)
    assert hybrids["hybrid by rank"].value == pytest.approx(kendalltau(goal, mean_rank).statistic)
    scaled = means["a"] / means["a"].mean() + means["b"] / means["b"].mean()
    assert hybrids["hybrid by value"].value == pytest.approx(kendalltau(goal, scaled).statistic)
    assert against_hybrids(truth, {"a": values["a"]}, ["a"], resamples=RESAMPLES) == {}


def test_layers_left_out_together() -> None:
    arrays = measured().found["loo-loss"].arrays
    _, sets = removal_sets(LAYERS)
    one = removals(arrays, sets, resamples=RESAMPLES)
    assert one.requests == 12
    assert one.base_loss.value == 1.5
    for n, (name, layers) in enumerate(sets.items()):
        row = one.sets[n]
        rise = np.mean([each["set_loss"][n] - each["base_loss"] for each in arrays])
        fall = np.mean([each["base_ndcg"] - each["set_ndcg"][n] for each in arrays])
        assert (row.name, row.layers) == (name, tuple(sorted(layers)))
        assert row.loss.value == pytest.approx(rise)
        assert row.ndcg.value == pytest.approx(fall)
        assert row.loss_each.value == pytest.approx(rise / len(layers))
        assert row.ndcg_each.high == pytest.approx(row.ndcg.high / len(layers))
    places = {name: n for n, name in enumerate(sets)}
    upper, lower = (
        np.mean([each["set_loss"][places[name]] - 1.5 for each in arrays])
        for name in ("last quarter", "first quarter")
    )
    assert one.ratios["quarters loss"].value == pytest.approx(upper / lower)
    assert set(one.ratios) == {"bands loss", "bands ndcg", "quarters loss", "quarters ndcg"}
    with pytest.raises(ValueError, match="sets were left out, and 1 are named"):
        removals(arrays, {"0-30%": frozenset({0})})


def test_no_ranking_and_no_harm_are_reasons() -> None:
    sets = {"first quarter": frozenset({0}), "last quarter": frozenset({3})}
    one = {
        "base_loss": np.array(1.0),
        "base_ndcg": np.array(np.nan),
        "set_loss": np.array([0.5, 2.0]),
        "set_ndcg": np.array([np.nan, np.nan]),
    }
    gone = removals([one, one], sets, resamples=RESAMPLES)
    assert gone.sets[0].ndcg.reason == "with one choice there is no ranking"
    assert gone.sets[0].ndcg_each.reason == gone.sets[0].ndcg.reason
    assert gone.ratios["quarters ndcg"].reason == gone.sets[0].ndcg.reason
    assert "does not harm" in gone.ratios["quarters loss"].reason


@pytest.mark.parametrize(
    ("states", "said", "best"),
    [
        ([3.0, 2.0, 1.0], "yes", 2),
        ([3.0, 1.0, 2.0], "no", 1),
        ([1.0, 3.0, 2.0], "no", 0),
    ],
)
def test_a_probe_rises_or_not(states: list[float], said: str, best: int) -> None:
    one = {"states": np.array(states), "information": 4.0 - np.array(states[1:])}
    found = probe_states([one] * 6, resamples=RESAMPLES)
    assert [e.value for e in found.states] == [4 - s for s in states]
    assert (found.monotone, found.best) == (said, best)


def test_the_best_state_is_chosen_on_the_other_half() -> None:
    chosen = {"states": np.array([3.0, 1.0, 2.0]), "information": np.array([3.0, 2.0])}
    judged = {"states": np.array([3.0, 2.0, 1.5]), "information": np.array([2.0, 2.5])}
    found = probe_states([chosen, judged] * 4, resamples=RESAMPLES)
    assert found.fall.value == -0.5
    assert found.monotone == "undecided"


def test_the_rule_of_the_answer() -> None:
    up, down, both = Estimate(2.0, 1.1, 3.0), Estimate(0.5, 0.1, 0.9), Estimate(1.0, 0.9, 1.1)
    assert answer([up, up]) == "true"
    assert answer([down, down]) == "false"
    for some in ([up, down], [up, both], [both], [Estimate.none("no")], [Estimate(2.0)], []):
        assert answer(some) == "undecided"


def test_the_verdict_goes_by_what_was_left_out() -> None:
    falling = measured(names=("fisher-empirical", "loo-loss", "loo-ndcg"))
    rising = measured(names=("fisher-empirical", "loo-loss", "loo-ndcg"), rising=True)
    said = {}
    for name, one in (("falling", falling), ("rising", rising)):
        summary = summarise(one.found, one.null, category=name, resamples=RESAMPLES)
        said[name] = verdict([summary], model="tiny")
        assert said[name].by_criterion["fisher-empirical"] == "false"
        assert f"for tiny on {name}, going by leaving layers out" in said[name].text
        assert "twin of random weights" in said[name].text
    assert (said["falling"].answer, said["rising"].answer) == ("false", "true")
    both = [summarise(one.found, resamples=RESAMPLES) for one in (falling, rising)]
    assert verdict(both).answer == "undecided"
    assert verdict(both).twin == {}
    alone = summarise({"fisher-empirical": falling.found["fisher-empirical"]}, resamples=RESAMPLES)
    assert "Nothing was left out for real" in verdict([alone]).text
    with pytest.raises(ValueError, match="no data set"):
        verdict([])


def test_stability_is_the_mean_tau_of_pairs() -> None:
    rng = np.random.default_rng(5)
    values = {name: {"a": rng.normal(size=(6, 5))} for name in "xyz"}
    means = [one["a"].mean(axis=0) for one in values.values()]
    pairs = [kendalltau(means[i], means[j]).statistic for i, j in ((0, 1), (0, 2), (1, 2))]
    assert stability(values, resamples=RESAMPLES)["a"].value == pytest.approx(np.mean(pairs))
    assert stability({"x": values["x"]}) == {}
    assert stability({**values, "w": {}}, resamples=RESAMPLES) == {}


def test_findings_of_a_run() -> None:
    done = [
        measured("Books", names=("fisher-empirical", "loo-loss")),
        measured("Toys", names=("fisher-empirical",), seed=1),
        measured("Books", names=("fisher-empirical", "greedy"), loss="letters", count=20, seed=2),
    ]
    all_of = findings(done, resamples=RESAMPLES)
    assert all_of.losses == ("listwise", "letters")
    assert all_of.categories == ("Books", "Toys")
    assert set(all_of.stability["listwise"]) == {"fisher-empirical"}
    assert all_of.stability["letters"] == {}
    assert set(all_of.losses_agree) == {"Books"}
    [(which, tau)] = all_of.losses_agree["Books"]["fisher-empirical"].items()
    assert which == "listwise and letters"
    one, other = (d.found["fisher-empirical"].values[:20].mean(axis=0) for d in (done[0], done[2]))
    assert tau.value == pytest.approx(kendalltau(one, other).statistic)
    assert [one.measured.category.name for one in all_of.of("letters")] == ["Books"]
    shown = findings([measured("Shop", names=("gate-fisher",), synthetic=True)], resamples=9).each[
        0
    ]
    assert shown.title == shown.drawn.category == "Shop (synthetic sample)"
    assert shown.summary.category == "Shop"


def test_findings_are_of_one_model_and_each_once() -> None:
    one = measured(names=("gate-fisher",))
    other = measured("Toys", names=("gate-fisher",), card=replace(CARD, digest="sha256:other"))
    for wrong in ([], [one, one], [one, other]):
        with pytest.raises(ValueError, match="one model, each category and loss once"):
            findings(wrong, resamples=9)


def test_the_same_again_is_the_same() -> None:
    made = measured(names=("gate-fisher", "loo-loss"))
    first, second = (summarise(made.found, resamples=RESAMPLES).criteria for _ in range(2))
    assert first["gate-fisher"].ratios == second["gate-fisher"].ratios
    other = summarise(made.found, resamples=RESAMPLES, seed=1).criteria
    assert other["gate-fisher"].ratio.low != first["gate-fisher"].ratio.low
    again = importance(CRITERIA["gate-fisher"], made.found["gate-fisher"].arrays, resamples=9)
    np.testing.assert_array_equal(again.values, made.found["gate-fisher"].values)
