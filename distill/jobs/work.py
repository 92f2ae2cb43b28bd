"""The work of each kind of job, as events whose last is a `JobResult`: a sentence or two.

What a kind needs is loaded when it is begun: a pull of a model waits for no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, TypeVar

from distill.jobs.codec import JobResult
from recommender.config import Settings
from recommender.events import Event
from storage.errors import BadSetting

if TYPE_CHECKING:
    from pathlib import Path

    from distill.labels import CategoryLabelled
    from storage.records import Category

Work = Generator[Event, None, None]
R = TypeVar("R", bound=Event)

MOVIELENS = "movielens-100k"


def work_of(asked: Mapping[str, Any], settings: Settings) -> Work:
    """Return the work that a job's file asks for; closed at an event, it can be done further.

    Raises:
        BadSetting: no such kind.
    """
    kind: str = asked["kind"]
    arguments: dict[str, Any] = asked["arguments"]
    match kind:
        case "distil":
            return _distil({"category": asked["category"], **arguments}, settings)
        case "label":
            return _label({"category": asked["category"], **arguments}, settings)
        case "pull":
            return _pull(arguments)
        case "fetch":
            return _fetch(settings)
        case "sample":
            return _sample(settings)
        case "movielens-100k":
            return _movielens(settings)
    raise BadSetting(f"no kind of job {kind!r}")


def _told(events: Iterator[Event], kind: type[R], tell: Callable[[R], JobResult]) -> Work:
    """Pass events on, the result told in a sentence; closes them with itself."""
    with ExitStack() as stack:
        if isinstance(events, Generator):
            stack.enter_context(closing(events))
        for event in events:
            yield tell(event) if isinstance(event, kind) else event


def _distil(arguments: Mapping[str, Any], settings: Settings) -> Work:
    from distill.config import DistilConfig, check

    config = DistilConfig.from_dict(arguments)
    check(config)
    _require_category(config.category, settings)
    # Here: torch takes seconds to load, and what is wrong with the above is said at once.
    from distill.pipeline import Distilled, distil

    events = distil(config, settings=settings)
    yield from _told(events, Distilled, lambda made: JobResult(made.summary, made.run))


def _label(arguments: Mapping[str, Any], settings: Settings) -> Work:
    from distill.config import DistilConfig, check

    config = DistilConfig.from_dict(arguments)
    check(config)
    _require_category(config.category, settings)
    # Here, as above.
    from distill.labels import CategoryLabelled, label_category
    from storage.store import Store

    with Store.open(settings.db, settings.artifacts) as store:
        events = label_category(store, config, settings)
        yield from _told(events, CategoryLabelled, _labelled)


def _labelled(done: CategoryLabelled) -> JobResult:
    return JobResult(
        tuple(
            f"{row.name}: {row.labels:,} labels of {row.questions:,} questions, "
            f"MRR {row.mrr.value:.3f} [{row.mrr.low:.3f}, {row.mrr.high:.3f}] "
            f"(chance {done.chance:.3f})"
            for row in done.teachers
        )
    )


def _pull(arguments: Mapping[str, Any]) -> Work:
    from recommender.backends.ollama.pulling import Pulled, pull

    name = str(arguments.get("name", ""))
    if not name:
        raise BadSetting("no name of a model to pull")
    events = pull(name, host=str(arguments.get("host", "")))
    yield from _told(events, Pulled, lambda done: JobResult((f"{done.name} is on {done.address}",)))


def _fetch(settings: Settings) -> Work:
    from recommender.models import ModelsFetched, fetch

    yield from _told(
        fetch(settings.models),
        ModelsFetched,
        lambda done: JobResult(tuple(f"{name}: {path}" for name, path in done.paths.items())),
    )


def _sample(settings: Settings) -> Work:
    from recommender.datasets.sample import SampleImported, import_sample
    from storage.store import Store

    with Store.open(settings.db, settings.artifacts) as store:
        yield from _told(
            import_sample(store), SampleImported, lambda done: JobResult((_size(done.category),))
        )


def _movielens(settings: Settings) -> Work:
    from recommender.datasets import ImportFinished, import_data
    from recommender.datasets.sources import PullFinished, pull
    from storage.store import Store

    paths: list[Path] = []
    for event in pull(MOVIELENS, settings.downloads):
        if isinstance(event, PullFinished):
            paths += event.paths
        else:
            yield event
    with Store.open(settings.db, settings.artifacts) as store:
        yield from _told(
            import_data(store, paths[0], category=MOVIELENS),
            ImportFinished,
            # Whose the data are was said before they were fetched.
            lambda done: JobResult((_size(done.category),)),
        )


def _require_category(name: str, settings: Settings) -> None:
    from storage.store import Store

    with Store.open(settings.db, settings.artifacts) as store:
        store.catalogue.category(name)


def _size(category: Category) -> str:
    return f"{category.name}: {category.people:,} people, {category.items:,} items"
