"""Students, what was measured of everything, and how much each layer matters.

Apart from the catalogue because these are results: they name the data they were made from,
and go when it goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Row, insert, select, update

from storage.database import Database
from storage.errors import UnknownName
from storage.records import LayerProfile, Measurement, Run
from storage.tables import layer_profiles, measurements, runs

# `Runs.list` hides the built-in inside the class.
_Runs = list[Run]
_Measurements = list[Measurement]
_Profiles = list[LayerProfile]

_VALUES = ("value", "low", "high")


class Runs:
    """The results kept in a database.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database.open(f"{folder}/shop.sqlite")
    ...     print(Runs(database).list(), Runs(database).best(1))
    ...     database.close()
    [] None
    """

    def __init__(
        self, database: Database, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Stand on an open database; `now` is the clock profiles are stamped by."""
        self._database = database
        self._now = now

    def add(self, run: Run) -> None:
        """Keep a run; one with the same id is left as it is."""
        with self._database.writing() as connection:
            there = connection.execute(select(runs.c.id).where(runs.c.id == run.id)).scalar()
            if there is None:
                connection.execute(insert(runs), asdict(run))

    def update(self, run_id: str, **fields: object) -> None:
        """Change fields of a run.

        Raises:
            UnknownName: no such run.
        """
        with self._database.writing() as connection:
            done = connection.execute(update(runs).where(runs.c.id == run_id).values(**fields))
            if not done.rowcount:
                raise UnknownName(f"no run {run_id!r}", next_step="recsys runs list")

    def get(self, run_id: str) -> Run:
        """Return a run by id, or by the beginning of its id where that is unambiguous.

        Raises:
            UnknownName: no such run, with the nearest ids, or several that begin so.
        """
        with self._database.reading() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run_id)).first()
            if row is not None:
                return _run(row)
            ids = [*connection.execute(select(runs.c.id)).scalars()]
        begun = [one for one in ids if one.startswith(run_id)] if run_id else []
        if len(begun) == 1:
            return self.get(begun[0])
        near = begun or get_close_matches(run_id, ids, n=3)
        hint = f"; did you mean {', '.join(repr(one) for one in near[:3])}?" if near else ""
        raise UnknownName(f"no run {run_id!r}{hint}", next_step="recsys runs list")

    def list(self, category_id: int | None = None) -> _Runs:
        """Return the runs of a category, or of all, oldest first."""
        query = select(runs).order_by(runs.c.created_at, runs.c.id)
        if category_id is not None:
            query = query.where(runs.c.category_id == category_id)
        with self._database.reading() as connection:
            return [_run(row) for row in connection.execute(query)]

    def best(self, category_id: int, *, final: bool = True) -> Run | None:
        """Return the student to answer with: the best on validation, None where there is none.

        A student that was retrained on everything stands for the run it was made from; with
        `final` False only measured ones count.
        """
        done = [
            run
            for run in self.list(category_id)
            if run.kind == "student" and run.status == "done" and run.artifact
            if final or not run.final
        ]
        if not done:
            return None
        return max(done, key=lambda run: (run.selection or 0.0, run.final, run.created_at))

    def add_measurements(self, measured: Sequence[Measurement]) -> None:
        """Keep figures; one with the same run, scope and metric is replaced."""
        table = measurements
        with self._database.writing() as connection:
            for one in measured:
                connection.execute(
                    table.delete().where(
                        table.c.run == one.run,
                        table.c.scope == one.scope,
                        table.c.metric == one.metric,
                    )
                )
            if measured:
                connection.execute(insert(table), [_figure_row(one) for one in measured])

    def measurements(self, run_id: str) -> _Measurements:
        """Return the figures of a run, by scope and metric."""
        table = measurements
        query = select(table).where(table.c.run == run_id).order_by(table.c.scope, table.c.metric)
        with self._database.reading() as connection:
            return [_figure(row) for row in connection.execute(query)]

    def add_profile(self, profile: LayerProfile) -> None:
        """Keep a layer profile; one with the same key is left as it is."""
        table = layer_profiles
        with self._database.writing() as connection:
            query = select(table.c.key).where(table.c.key == profile.key)
            if connection.execute(query).scalar() is None:
                row = asdict(profile)
                row |= {name: list(row[name]) for name in ("layers", "low", "high")}
                # To the microsecond: measures of one command are told apart by it.
                row["made_at"] = self._now().isoformat(timespec="microseconds")
                connection.execute(insert(table), row)

    def profiles(self, category_id: int) -> _Profiles:
        """Return the layer profiles of a category, the one made first in front."""
        table = layer_profiles
        query = select(table).where(table.c.category_id == category_id)
        query = query.order_by(table.c.made_at, table.c.key)
        with self._database.reading() as connection:
            return [_profile(row) for row in connection.execute(query)]

    def latest_profile(
        self, category_id: int, criterion: str, weights: str | None = None
    ) -> LayerProfile | None:
        """Return the profile made last of a category by a criterion, None without one.

        Args:
            category_id: whose requests were measured.
            criterion: as profiles name it.
            weights: `ModelCard.key` of what was measured; None for any.
        """
        table = layer_profiles
        query = select(table).where(
            table.c.category_id == category_id, table.c.criterion == criterion
        )
        if weights is not None:
            query = query.where(table.c.weights == weights)
        # Those of before times were kept have none, and come last; the key decides a tie.
        query = query.order_by(table.c.made_at.desc(), table.c.key.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _profile(row)

    def profile(self, key: str) -> LayerProfile:
        """Return a layer profile by key.

        Raises:
            UnknownName: there is none.
        """
        query = select(layer_profiles).where(layer_profiles.c.key == key)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise UnknownName(f"no layer profile {key!r}", next_step="recsys runs list")
        return _profile(row)


def _run(row: Row[Any]) -> Run:
    return Run(**row._mapping)


def _figure_row(one: Measurement) -> dict[str, Any]:
    """Return a row of plain numbers, since drivers refuse NumPy's."""
    row = asdict(one)
    row |= {name: float(row[name]) for name in _VALUES}
    # NaN is NULL in the database: not every one has a NaN.
    row |= {name: None for name in _VALUES if math.isnan(row[name])}
    return row | {"n": int(one.n), "people": int(one.people)}


def _figure(row: Row[Any]) -> Measurement:
    fields = dict(row._mapping)
    fields |= {name: math.nan for name in _VALUES if fields[name] is None}
    return Measurement(**fields)


def _profile(row: Row[Any]) -> LayerProfile:
    fields = dict(row._mapping)
    del fields["made_at"]  # what a profile says does not depend on when it was made
    for name in ("layers", "low", "high"):
        fields[name] = tuple(fields[name])
    return LayerProfile(**fields)
