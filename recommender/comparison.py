"""Two runs on the same requests: the difference of each metric, with a paired interval.

A difference is only shown where both runs kept their rows and were asked the same requests:
two means with overlapping intervals of their own say little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.metrics import by_name
from recommender.significance import Interval, paired_interval
from storage.errors import BadData
from storage.records import IntArray, Measurement, Run
from storage.store import Store

ROWS_FILE = "rows.safetensors"
"""What an evaluation's artifact keeps: `Evaluation.arrays()`."""

COMPARED = ("ndcg@10", "hr@10", "mrr@10")


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """The rank of the true item at each request of one run."""

    rows: IntArray
    users: IntArray
    ranks: IntArray


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two runs on the requests that both answered."""

    metric: str
    a: float
    b: float
    difference: Interval
    """a - b."""


def compare_rows(
    a: Rows, b: Rows, metrics: Sequence[str] = COMPARED, *, seed: int = 0
) -> list[Difference]:
    """Return a - b for each metric over the requests that both have.

    Raises:
        BadData: they share no request.

    >>> def rows(*ranks: int) -> Rows:
    ...     some = np.arange(len(ranks))
    ...     return Rows(some, some, np.array(ranks))
    >>> [(d.metric, d.difference.value) for d in compare_rows(rows(1, 2), rows(1, 20), ["hr@10"])]
    [('hr@10', 0.5)]
    """
    shared, in_a, in_b = np.intersect1d(a.rows, b.rows, return_indices=True)
    # Requests without a row in the log are not told apart.
    in_a, in_b = in_a[shared >= 0], in_b[shared >= 0]
    if not len(in_a):
        raise BadData("the two runs share no request: they were not evaluated on the same ones")
    users = a.users[in_a]
    found = []
    for metric in metrics:
        left, right = by_name(metric, a.ranks[in_a]), by_name(metric, b.ranks[in_b])
        interval = paired_interval(left, right, users, seed=seed)
        found.append(Difference(metric, float(left.mean()), float(right.mean()), interval))
    return found


def compare_runs(
    store: Store,
    a: Run,
    b: Run,
    *,
    scope: str = "test/full",
    scope_b: str = "",
    metrics: Sequence[str] = COMPARED,
) -> list[Difference]:
    """Return the paired differences of two runs of one category.

    Args:
        store: with both.
        a: the first run.
        b: the second run.
        scope: where both were measured.
        scope_b: where the second was, if its figures stand beside the first's under another name.
        metrics: what is compared.

    Raises:
        BadData: the runs are of different categories, or one kept no rows in that scope.
    """
    if a.category_id != b.category_id:
        raise BadData(f"runs {a.id!r} and {b.id!r} are of different categories")
    return compare_rows(_rows(store, a, scope), _rows(store, b, scope_b or scope), metrics)


def _rows(store: Store, run: Run, scope: str) -> Rows:
    key = _artifact(store.runs.measurements(run.id), scope)
    if not key:
        raise BadData(
            f"run {run.id!r} kept no rows of {scope!r}", next_step=f"recsys runs show {run.id}"
        )
    arrays = store.artifacts.load_arrays(store.artifacts.open(key), ROWS_FILE)
    return Rows(arrays["rows"], arrays["users"], arrays["ranks"].astype(np.int64))


def _artifact(measured: Sequence[Measurement], scope: str) -> str:
    return next((m.artifact for m in measured if m.scope == scope and m.artifact), "")
