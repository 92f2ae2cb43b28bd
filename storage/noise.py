"""How far answers move when the same is asked again: measured once a teacher and its settings.

Apart from the answers because it says something about all of them: which differences mean
nothing.
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import select

from storage.database import Database
from storage.inserts import insert_missing
from storage.records import NoiseFloor
from storage.tables import noise_floors


class NoiseFloors:
    """The noise floors kept in a database.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database.open(f"{folder}/shop.sqlite")
    ...     noise = NoiseFloors(database)
    ...     noise.add(NoiseFloor("smol", "ollama 0.24", "seed 1", "2026-11-23", 0.5, 0.01, 2, 40))
    ...     found, other = noise.latest("smol", "seed 1"), noise.latest("smol", "seed 2")
    ...     database.close()
    >>> found.floor, other
    (0.5, None)
    """

    def __init__(self, database: Database) -> None:
        """Stand on an open database."""
        self._database = database

    def add(self, measured: NoiseFloor) -> None:
        """Keep a measurement; one of the same teacher and the same moment is left as it is."""
        row = asdict(measured)
        row |= {name: float(row[name]) for name in ("floor", "median")}
        row |= {name: int(row[name]) for name in ("flips", "comparisons")}
        with self._database.writing() as connection:
            insert_missing(connection, noise_floors, [row])

    def newest(self) -> dict[str, NoiseFloor]:
        """Return the last measurement of every teacher, whatever its settings, by its key."""
        query = select(noise_floors).order_by(noise_floors.c.measured_at)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {row.teacher: NoiseFloor(**row._mapping) for row in rows}

    def latest(self, teacher: str, options: str) -> NoiseFloor | None:
        """Return the last measurement of a teacher with these settings, None without one."""
        table = noise_floors
        query = (
            select(table)
            .where(table.c.teacher == teacher, table.c.options == options)
            .order_by(table.c.measured_at.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else NoiseFloor(**row._mapping)
