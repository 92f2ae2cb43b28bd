"""Columns that change places: taken away, started anew, mended by what was offered.

Apart from the other keys because here a job may have to end first, which the column follows.
"""

from __future__ import annotations

from textual import work

from recommender.events import Progress, StageStarted
from storage.errors import RecsysError
from tui import mending
from tui.job_watch import JobNews
from tui.screens.compared import Compared
from tui.widgets.column import RankerColumn
from tui.widgets.no_data import NoData


class Mended(Compared):
    """Takes up the offers of columns that have no answer."""

    def on_mount(self) -> None:
        """Hear of jobs."""
        self.recsys.job_signal.subscribe(self, self.job_news)

    async def take_away(self, column: RankerColumn) -> None:
        """End a column's process, and show it no more."""
        assert self.live is not None
        self.live.end(column.by)
        self.comparison.remove(column.by)
        self.mending.pop(column.by, None)
        self.paint()
        await column.remove()

    def ask(self) -> None:
        """Ask all columns; whose process was killed is started again, once by itself."""
        super().ask()
        if self.blind is not None or self.live is None:
            return
        for column in self.comparison.columns:
            if column.killed and not column.restarted:
                self.live.end(column.by)
                self.comparison.restart(column.by)
                self.listen(column.by)
        self.paint()

    @work(group="replacing")
    async def replace(self, old: str, new: str) -> None:
        """Start a column anew, in its place, perhaps as another ranker."""
        column, live = self.side.of(old), self.live
        if column is None or live is None:
            return
        at = self.side.columns.index(column) if column is self.side.current else None
        if new != old and self.side.of(new) is not None:
            await self.take_away(column)
        else:
            live.end(old)
            self.mending.pop(old, None)
            self.comparison.replace(old, new)
            self.paint()
            await column.remove()
            await self.start(new)
            self.paint()
        if at is not None:
            self.side.turn_to(at)

    @work(exclusive=True, group="mending")
    async def on_ranker_column_taken(self, event: RankerColumn.Taken) -> None:
        """Do what was offered."""
        match event.action:
            case "distil":
                self.app.switch_mode("distil")
            case "embedded":
                self.replace(event.by, mending.EMBEDDED)
            case "again":
                self.replace(event.by, event.by)
            case _:
                await self._start(event)

    async def _start(self, event: RankerColumn.Taken) -> None:
        try:
            spec = mending.job(event.action, event.by, self.recsys.settings)
            self.mending[event.by] = spec.named
            self.paint()
            await self.recsys.jobs.start(spec)
        except RecsysError as error:
            self.mending.pop(event.by, None)
            self.paint()
            self.recsys.say(error)

    def job_news(self, news: JobNews) -> None:
        """Follow what brings data, mends a column, or has made a student."""
        self.query_one(NoData).news(news)
        mended = [by for by, what in self.mending.items() if what.startswith(news.job.spec.named)]
        if news.job.state == "done" and not news.first and news.job.spec.kind == "distil":
            mended += [one.by for one in self.comparison.columns if one.by == "student"]
        for by in mended:
            self._mended(by, news)

    def _mended(self, by: str, news: JobNews) -> None:
        if news.job.going:
            said = [one for one in news.events if isinstance(one, Progress | StageStarted)]
            self.mending[by] = f"{news.job.spec.named}{how_far(said[-1]) if said else ''}"
            self.paint()
            return
        self.mending.pop(by, None)
        if news.job.error:
            step = f"; next: {news.job.next_step}" if news.job.next_step else ""
            self.recsys.tell(f"{news.job.spec.named} failed: {news.job.error}{step}")
        if self.comparison.column(by).dead and news.job.state == "done":
            self.replace(by, by)
        self.paint()


def how_far(event: Progress | StageStarted) -> str:
    """Return how far a stage is, behind the name of its job.

    >>> how_far(Progress("layers", 1, 4)), how_far(StageStarted("layers"))
    (' · 25 %', ' · layers')
    """
    if isinstance(event, Progress) and event.total:
        return f" · {100 * event.done // event.total} %"
    return f" · {event.stage}"
