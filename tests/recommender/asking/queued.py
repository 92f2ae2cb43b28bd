"""Questions for the bulk queue, hosts to ask, and everything that was asked and said."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from recommender.asking.patience import Answered
from recommender.asking.work_queue import Batch, ask_all
from recommender.backends import Backend, Prompt, Scores
from recommender.backends.scripted import ScriptedBackend
from recommender.events import Event, Notice
from storage.records import LabelFailure, LabelRequest

Group = tuple[LabelRequest, ...]


def groups(count: int, size: int = 3) -> list[Group]:
    """Questions of `size` orders each; a key says which one and which order."""
    return [
        tuple(
            LabelRequest(f"{n}.{k}", 1, "train", n, n, (0,), (1, 2), 0, "t", "likelihood", "1", k)
            for k in range(size)
        )
        for n in range(count)
    ]


def keys(several: Sequence[Group]) -> list[str]:
    return [request.key for group in several for request in group]


def host(name: str, **settings: object) -> ScriptedBackend:
    options: dict[str, object] = {"device": name, "concurrent": True, **settings}
    return ScriptedBackend(lambda prompt, titles: [-1.0] * len(titles), **options)  # type: ignore[arg-type]


class Asking:
    """Asks, and writes down who was asked what, and how many at once."""

    def __init__(self, fail: Callable[[str, str], BaseException | None] | None = None) -> None:
        """`fail` is told host and key, and says what is raised."""
        self.asked: list[tuple[str, str]] = []
        self.threads: set[threading.Thread] = set()
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._fail = fail or (lambda where, key: None)
        self._lock = threading.Lock()

    def __call__(self, backend: Backend, request: LabelRequest) -> Scores:
        where = backend.describe().device
        with self._lock:
            self.asked.append((where, request.key))
            self.threads.add(threading.current_thread())
            self.now[where] += 1
            self.most[where] = max(self.most[where], self.now[where])
        try:
            error = self._fail(where, request.key)
            if error is not None:
                raise error
            return backend.likelihood(Prompt(()), [request.key])
        finally:
            with self._lock:
                self.now[where] -= 1

    def order(self) -> list[str]:
        return [key for _, key in list(self.asked)]


class Heard:
    """Everything a job said, and how it ended."""

    def __init__(self, job: Iterator[Batch | Event], *, ends_in: type[BaseException] | None = None):
        self.answered: list[Answered] = []
        self.failed: list[LabelFailure] = []
        self.notices: list[str] = []
        self.batches: list[Batch] = []
        self.error: BaseException | None = None
        try:
            for one in job:
                self.add(one)
        except BaseException as error:
            if ends_in is None or not isinstance(error, ends_in):
                raise
            self.error = error
        assert ends_in is None or self.error is not None

    def add(self, one: Batch | Event) -> None:
        if isinstance(one, Batch):
            assert one.answered or one.failed, "a batch of nothing"
            self.batches.append(one)
            self.answered += one.answered
            self.failed += one.failed
        else:
            assert isinstance(one, Notice)
            self.notices.append(one.text)

    def keys(self) -> list[str]:
        return sorted(one.request.key for one in self.answered)

    def failures(self) -> list[str]:
        return sorted(one.key for one in self.failed)


def asking_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("asking ")]


def ended(seconds: float = 1.0) -> bool:
    until = time.monotonic() + seconds
    while asking_threads() and time.monotonic() < until:
        time.sleep(0.005)
    return not asking_threads()


def run(backend: Backend, several: Sequence[Group], ask: Asking, **options: int) -> Heard:
    return Heard(ask_all(backend, several, ask, first_pause=0, **options))


def ends(
    backend: Backend, several: Sequence[Group], ask: Asking, kind: type[BaseException], **more: int
) -> Heard:
    return Heard(ask_all(backend, several, ask, first_pause=0, **more), ends_in=kind)
