"""The adapted teacher beside the one it was made of, on test requests it has not seen.

Both are asked the same questions in the same ways; popularity and item-kNN rank the same
candidates. Letters lose what each place gets whoever stands there, measured on validation,
as they do wherever the program asks by letters: what position alone explains is no merit.
Whole prompts are long, so the first few questions alone are asked that way, too.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distill.adapting.measuring import WAYS, Measured, Scored, Way, measure, prior_of, without_prior
from distill.adapting.questions import FEWEST
from distill.ground import Ground
from recommender.asking.requests import Question
from recommender.calibration import fit_temperature
from recommender.evaluation import Evaluation, evaluate_candidates
from recommender.events import Event
from recommender.letters import DECLINED_OUTSIDE
from recommender.metrics import by_name, chance
from recommender.significance import Interval, paired_interval
from storage.artifacts import Artifacts

SCOPE = "test/candidates"
METRICS = ("mrr", "ndcg@10")


@dataclass(frozen=True, eq=False, slots=True)
class Judged:
    """Figures of both models on the same test requests, by each way."""

    adapted: Mapping[Way, Evaluation]
    unadapted: Mapping[Way, Evaluation]
    others: tuple[Evaluation, ...]
    """Popularity and item-kNN."""
    differences: Mapping[Way, Mapping[str, Interval]]
    """Way -> metric -> adapted less unadapted, paired over people."""
    chance: Mapping[str, float]
    """Metric -> what a random order reaches."""
    standard_errors: Mapping[str, float]
    """Metric -> what the mean of as many random orders is uncertain by."""
    prior: tuple[float, ...]
    """Of the adapted model's letters, as a teacher is asked."""
    temperature: float
    """Of the same letters, fitted on validation."""
    declined: Mapping[str, float]
    """'adapted' and 'unadapted' -> share of the whole prompts by letters that were declined."""

    def above_chance(self, way: Way = "short letters") -> bool:
        """Say whether the adapted model's MRR is above chance by two standard errors."""
        own = 1.0 / self.adapted[way].ranks
        error = float(own.std(ddof=1) / np.sqrt(len(own)))
        return bool(self.adapted[way].table["mrr"].value > self.chance["mrr"] + 2 * error)


def judge(
    artifacts: Artifacts,
    ground: Ground,
    adapted: Measured,
    unadapted: Measured,
    choosing: Sequence[Question],
    test: Sequence[Question],
    *,
    whole: int,
    seed: int,
) -> Generator[Event, None, Judged]:
    """Ask both models the test questions by short letters, the first `whole` by each way."""
    tables: dict[str, dict[Way, Evaluation]] = {}
    priors: dict[str, tuple[float, ...]] = {}
    declined: dict[str, float] = {}
    temperature = 1.0
    for name, model in (("unadapted", unadapted), ("adapted", adapted)):
        tables[name] = {}
        for way in WAYS:
            stage = f"{name} teacher, by {way}"
            some = len(test) if way == "short letters" else whole
            prior: tuple[float, ...] = ()
            if way != "likelihood":
                known = choosing if way == "short letters" else choosing[: calibrated_on(whole)]
                there = yield from measure(
                    artifacts, model, known, way, stage=f"{stage}: validation"
                )
                prior = prior_of([row for row in there if len(row) == len(there[0])])
                if way == "letters":
                    calm = without_prior(there, prior)
                    priors[name] = prior
                    temperature = fit_temperature(calm, [q.target for q in known])
            found = yield from measure(artifacts, model, test[:some], way, stage=f"{stage}: test")
            if way == "letters":
                declined[name] = declined_share(found)
            calm = without_prior(found, prior)
            tables[name][way] = _table(f"{name}, by {way}", calm, test[:some], seed)
    lengths = np.array([len(q.candidates) for q in test])
    return Judged(
        adapted=tables["adapted"],
        unadapted=tables["unadapted"],
        others=tuple(_baselines(ground, test, seed)),
        differences=_differences(tables, seed),
        chance={metric: chance(metric, lengths) for metric in METRICS},
        standard_errors={metric: chance_error(metric, lengths) for metric in METRICS},
        prior=priors["adapted"],
        temperature=temperature,
        declined=declined,
    )


def declined_share(scores: Scored) -> float:
    """Return the share of answers that `recsys recommend` would count as declined.

    Those with more than half of the probability outside the letters, whatever their order.

    Args:
        scores: log-probabilities among all tokens, as whole prompts by letters are scored.

    >>> declined_share([np.log([0.4, 0.3]), np.log([0.1, 0.2])])
    0.5
    """
    return float(np.mean([1.0 - np.exp(row).sum() > DECLINED_OUTSIDE for row in scores]))


def calibrated_on(whole: int) -> int:
    """Return how many validation requests calibrate the letters of whole prompts.

    As many as are judged by them, but never so few that a prior says nothing.

    >>> calibrated_on(100), calibrated_on(1)
    (100, 32)
    """
    return max(whole, FEWEST)


def chance_error(metric: str, lengths: np.ndarray) -> float:
    """Return the standard error of a metric's mean over random orders of lists so long.

    Formula: √(Σ_i Var_i) / N, Var_i the variance of the metric of a uniform rank 1 … C_i.

    >>> round(chance_error("mrr", np.array([2, 2, 2, 2])), 4)
    0.125
    """
    variances = [by_name(metric, np.arange(1, n + 1)).var() for n in lengths]
    return float(np.sqrt(np.sum(variances)) / len(lengths))


def in_words(judged: Judged, prompt_tokens: int) -> list[str]:
    """Say, line by line, how the adapted teacher did, whatever it is.

    The first line of each way has both models, the second their paired difference.
    """
    some = judged.adapted["short letters"]
    lines = [
        f"{len(some.ranks)} test requests of as many people; chance MRR {judged.chance['mrr']:.3f} "
        f"± {judged.standard_errors['mrr']:.3f} (standard error), NDCG@10 "
        f"{judged.chance['ndcg@10']:.3f} ± {judged.standard_errors['ndcg@10']:.3f}; "
        + ", ".join(f"{e.name} MRR {e.table['mrr'].value:.3f}" for e in judged.others)
    ]
    for way in WAYS:
        asked = len(judged.adapted[way].ranks)
        what = (
            f"letters, at most {prompt_tokens} tokens"
            if way == "short letters"
            else f"{way}, whole prompts, the first {asked}"
        )
        new, old = judged.adapted[way].table, judged.unadapted[way].table
        moved = judged.differences[way]
        lines.append(
            f"by {what}: MRR adapted {figure(new['mrr'])}, unadapted {figure(old['mrr'])}, "
            f"difference {figure(moved['mrr'], '+.3f')}; NDCG@10 {new['ndcg@10'].value:.3f}, "
            f"{old['ndcg@10'].value:.3f}, difference {figure(moved['ndcg@10'], '+.3f')}"
        )
    yes, no = judged.declined["adapted"], judged.declined["unadapted"]
    lines.append(
        f"declined, with under half of the probability on letters: {yes:.0%} of the adapted "
        f"teacher's answers to whole prompts, {no:.0%} of the unadapted one's"
    )
    verdict = "above" if judged.above_chance() else "not above"
    lines.append(f"by letters the adapted teacher is {verdict} chance by two standard errors")
    return lines


def figure(interval: Interval, form: str = ".3f") -> str:
    """Return a figure with its interval.

    >>> figure(Interval(0.5, 0.4, 0.6, 10, 5), "+.2f")
    '+0.50 [+0.40, +0.60]'
    """
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _table(name: str, scores: Scored, questions: Sequence[Question], seed: int) -> Evaluation:
    return evaluate_candidates(
        name,
        SCOPE,
        scores,
        [q.target for q in questions],
        np.array([q.user for q in questions], dtype=np.int64),
        rows=np.array([q.event for q in questions], dtype=np.int64),
        seed=seed,
    )


def _baselines(ground: Ground, test: Sequence[Question], seed: int) -> list[Evaluation]:
    found = []
    for ranker in (ground.popularity, ground.knn):
        histories = [np.array(q.history, dtype=np.int64) for q in test]
        scores = [
            ranker.score([history])[0][list(q.candidates)]
            for history, q in zip(histories, test, strict=True)
        ]
        found.append(_table(ranker.name, scores, test, seed))
    return found


def _differences(
    tables: Mapping[str, Mapping[Way, Evaluation]], seed: int
) -> dict[Way, dict[str, Interval]]:
    new, old = tables["adapted"], tables["unadapted"]
    return {
        way: {
            metric: paired_interval(
                new[way].per_request(metric),
                old[way].per_request(metric),
                new[way].users,
                seed=seed,
            )
            for metric in METRICS
        }
        for way in WAYS
    }
