"""There is nothing to compare yet: what brings data, and how far that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.containers import Container
from textual.widgets import Button

from distill.jobs.records import JobSpec, Kind
from recommender.events import Progress, StageStarted
from storage.errors import RecsysError, StoreMissing, StoreRemoved
from tui.job_watch import JobNews
from tui.widgets.missing import Missing, Offer

if TYPE_CHECKING:
    from tui.app import RecsysApp

HOW_TO_IMPORT = "your own: recsys data import PATH --category NAME"
AGAIN = Offer("again", "look again")


class NoData(Container):
    """Says that there is no data, or no Store, and brings some."""

    DEFAULT_CSS = "NoData { height: 1fr; width: 1fr; }"
    OFFERS: ClassVar[tuple[Offer, ...]] = (
        Offer("movielens-100k", "MovieLens-100K: real people, real films"),
        Offer("sample", "a small synthetic shop, to look around"),
        Offer("again", "I imported some: look again"),
    )

    def __init__(self) -> None:
        """Say nothing yet."""
        super().__init__()
        self._job = ""
        """The job that brings data."""

    @work(exclusive=True, group="missing")
    async def look(self) -> None:
        """Say what is not there; where something is, have it shown."""
        if self._job:
            return
        try:
            found = await self._app.ask_store(lambda store: store.catalogue.categories())
        except StoreRemoved as error:
            await self._put(Missing.of(error, [AGAIN]))
            return
        except StoreMissing:
            found = []
        except RecsysError as error:
            await self._put(Missing.of(error, [Offer("again", "try again")]))
            return
        if found:
            self._app.load_category()
        else:
            await self._put(Missing("There is no data yet.", self.OFFERS, further=HOW_TO_IMPORT))

    @work(exclusive=True, group="missing")
    async def on_missing_chosen(self, event: Missing.Chosen) -> None:
        """Bring data, or look again."""
        event.stop()
        if event.action == "again":
            self._app.load_category()
            return
        spec = JobSpec(cast("Kind", event.action), title=f"bring data: {event.action}")
        await self._put(Missing(f"Bringing {event.action} …"))
        self._job = (await self._app.jobs.start(spec)).id

    def news(self, news: JobNews) -> None:
        """Follow the job that brings data, one of an earlier sitting too."""
        job = news.job
        if not self._job and self.display and job.going and job.spec.kind in self._kinds():
            self._job = job.id
        if job.id != self._job:
            return
        if job.going:
            self._say_how_far(news)
            return
        self._job = ""
        if job.state == "done":
            self._app.load_category()
        else:
            self._say_failed(job.error or f"it was {job.state}", job.next_step)

    @work(exclusive=True, group="missing")
    async def _say_failed(self, what: str, next_step: str) -> None:
        further = f"next: {next_step}" if next_step else HOW_TO_IMPORT
        await self._put(Missing(what, self.OFFERS, further=further))

    @work(exclusive=True, group="missing")
    async def _say_how_far(self, news: JobNews) -> None:
        words = [_words(one) for one in news.events if isinstance(one, Progress | StageStarted)]
        if words:
            await self._put(Missing(f"Bringing {news.job.spec.kind} …", further=words[-1]))

    async def _put(self, found: Missing) -> None:
        await self.remove_children()
        await self.mount(found)
        if found.offers and self.display:
            found.query(Button).first().focus()

    def _kinds(self) -> list[str]:
        return [offer.action for offer in self.OFFERS]

    @property
    def _app(self) -> RecsysApp:
        return cast("RecsysApp", self.app)


def _words(event: Progress | StageStarted) -> str:
    """Return how far a stage is.

    >>> _words(Progress("items", 5, 10)), _words(StageStarted("items"))
    ('items: 50 %', 'items')
    """
    if isinstance(event, Progress) and event.total:
        return f"{event.stage}: {100 * event.done // event.total} %"
    return event.stage
