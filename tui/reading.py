"""The Store, asked from the app without holding it up: a few threads, opened when first needed.

Apart from the app because here is the only place where a thread of the TUI meets the database.
What it imports it imports in its own threads: the window is painted before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from storage.errors import StoreMissing, StoreRemoved

if TYPE_CHECKING:
    from recommender.config import Settings
    from storage.store import Store

T = TypeVar("T")

THREADS = 3
"""So that a search is answered while something long is counted."""


class StoreReader:
    """Asks the Store in threads of its own."""

    def __init__(self, settings: Settings) -> None:
        """`settings` name the Store; it is opened by the first question."""
        self._settings = settings
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        self._opening = Lock()
        self._store: Store | None = None
        self._was_open = False

    async def ask(self, question: Callable[[Store], T]) -> T:
        """Return what a question finds in the Store.

        Raises:
            RecsysError: as the question does, or because the Store cannot be opened. The next
                question tries to open it again.
            StoreMissing: there is none: reading makes none.
            StoreRemoved: there is none any more.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._answer, question)

    def close(self) -> None:
        """Let what is under way end, and close the Store."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._store is not None:
            self._store.close()
            self._store = None

    def _answer(self, question: Callable[[Store], T]) -> T:
        return question(self._opened())

    def _opened(self) -> Store:
        with self._opening:
            if self._store is not None and not self._store.is_there:
                # What was opened can still be read, and nothing of it will be found again.
                self._store.close()
                self._store = None
            if self._store is None:
                self._store = self._open()
                self._was_open = True
            return self._store

    def _open(self) -> Store:
        # Imported here, in a thread: it takes longer than the first frame may.
        from storage.store import Store

        try:
            return Store.open(self._settings.db, self._settings.artifacts, create=False)
        except StoreMissing as error:
            if not self._was_open:
                raise
            raise StoreRemoved(
                f"the database {self._settings.db} was removed while open",
                next_step="put it back and look again, or leave (q) and import anew: "
                "recsys data import PATH --category NAME",
            ) from error
