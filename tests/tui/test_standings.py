"""Rows of the leaderboard without a screen: which metrics, and in which order."""

from __future__ import annotations

from storage.records import Measurement
from tests.tui.test_leaderboard import made
from tui.standings import GATE, TEST, Standing, metrics_of, ordered, standings


def test_metrics_of_candidates_are_others() -> None:
    row = Standing(made("a", "teacher", "t"), GATE)
    assert metrics_of(GATE, [row]) == ("mrr", "ndcg@5", "hr@1")
    assert metrics_of(TEST, [row]) == ("ndcg@10", "hr@10", "mrr@10")


def test_not_a_number_comes_last() -> None:
    runs = [made(key, "student", key) for key in "abc"]
    figures = {
        key: [Measurement(key, TEST, "ndcg@10", value, value, value, 9, 9)]
        for key, value in (("a", float("nan")), ("b", 0.1), ("c", 0.2))
    }
    rows = standings(runs, figures)[TEST]
    assert [r.name for r in ordered(rows, "ndcg@10", reverse=True)] == ["c", "b", "a"]
    assert [r.name for r in ordered(rows, "ndcg@10", reverse=False)] == ["b", "c", "a"]
