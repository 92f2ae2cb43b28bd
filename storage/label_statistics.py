"""What asking a teacher came to: how many answers of which status, and how long they took.

Apart from `storage.labels` because it sums over everything a category was asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, func, select

from storage.records import LabelStatistics
from storage.tables import label_failures, label_requests, soft_labels

_STREAMED = 2_000
"""Rows that are Python objects at one time."""

Group = tuple[str, str, str, str]
"""Teacher, method, purpose, status."""


@dataclass(slots=True)
class Tally:
    """What has been counted of one group."""

    requests: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """By key: several requests with one answer were asked once. NaN where there is none yet."""


def read_statistics(connection: Connection, category_id: int) -> list[LabelStatistics]:
    """Return one record a teacher, method, purpose and status, most requests first."""
    asked, given = label_requests.c, soft_labels.c
    query = (
        select(asked.teacher, asked.method, asked.purpose, given.status, asked.key, given.seconds)
        .join_from(label_requests, soft_labels, given.key == asked.key, isouter=True)
        .where(asked.category_id == category_id)
    )
    tallies: dict[Group, Tally] = {}
    options = {"stream_results": True, "yield_per": _STREAMED}
    for row in connection.execute(query, execution_options=options):
        teacher, method, purpose, status, key, seconds = row
        tally = tallies.setdefault((teacher, method, purpose, status or ""), Tally())
        tally.requests += 1
        tally.seconds[key] = math.nan if seconds is None else seconds
    failures = _failures(connection, category_id)
    found = [_summed(group, tally, failures) for group, tally in tallies.items()]
    return sorted(
        found, key=lambda one: (-one.requests, one.teacher, one.method, one.purpose, one.status)
    )


def _failures(connection: Connection, category_id: int) -> dict[str, int]:
    """Return how often each request of a category brought no answer, by key."""
    asked, failed = label_requests.c, label_failures.c
    query = (
        select(failed.key, func.count())
        .where(failed.key.in_(select(asked.key).where(asked.category_id == category_id)))
        .group_by(failed.key)
    )
    return {key: int(count) for key, count in connection.execute(query)}


def _summed(group: Group, tally: Tally, failures: Mapping[str, int]) -> LabelStatistics:
    teacher, method, purpose, status = group
    seconds = np.array([one for one in tally.seconds.values() if not math.isnan(one)])
    median, p95 = np.quantile(seconds, [0.5, 0.95]).tolist() if len(seconds) else (math.nan,) * 2
    return LabelStatistics(
        teacher=teacher,
        method=method,
        purpose=purpose,
        status=status,
        requests=tally.requests,
        answers=len(seconds),
        median=median,
        p95=p95,
        failures=sum(failures.get(key, 0) for key in tally.seconds),
    )
