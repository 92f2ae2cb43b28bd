"""The one door: a database and a directory of artifacts, opened together.

with Store.open("shop.sqlite", Path("artifacts")) as store:
    store.catalogue.categories()
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from storage.artifacts import Artifacts
from storage.browsing import Browsing
from storage.catalogue import Catalogue
from storage.database import BUSY_SECONDS, Database
from storage.feedback import Opinions
from storage.labels import Labels
from storage.layer_values import Layers
from storage.migrations import HEAD
from storage.noise import NoiseFloors
from storage.runs import Runs


class Store:
    """Everything that is remembered.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Store.open(f"{folder}/shop.sqlite", Path(folder, "artifacts")) as store:
    ...         store.catalogue.categories()
    []
    """

    def __init__(self, database: Database, artifacts: Artifacts) -> None:
        """Stand on an open database; `open` is the usual way in."""
        self.database = database
        self.artifacts = artifacts
        self.catalogue = Catalogue(database)
        self.browsing = Browsing(database)
        self.feedback = Opinions(database)
        self.labels = Labels(database)
        self.layers = Layers(database)
        self.noise = NoiseFloors(database)
        self.runs = Runs(database)

    @classmethod
    def open(
        cls,
        url: str | Path,
        artifacts: Path | str,
        *,
        busy_seconds: float = BUSY_SECONDS,
        create: bool = True,
    ) -> Store:
        """Open or create a Store.

        Args:
            url: any SQLAlchemy URL; a bare path is a SQLite file.
            artifacts: their directory; made when something is written.
            busy_seconds: how long to wait for another writer.
            create: make a database where there is none; who only reads does not.

        Raises:
            BadSetting: a URL that cannot be read.
            StoreMissing: there is none, and none is to be made.
            StoreUnavailable: the database cannot be used, and why.
        """
        database = Database.open(str(url), busy_seconds=busy_seconds, create=create)
        return cls(database, Artifacts(Path(artifacts)))

    @property
    def schema_version(self) -> str:
        """Revision of the database's schema, which opening has brought to the newest."""
        return HEAD

    @property
    def is_there(self) -> bool:
        """Whether the database still lies where it was opened."""
        return self.database.is_there

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
