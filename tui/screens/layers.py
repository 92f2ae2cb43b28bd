"""How much each layer matters, by every criterion that was measured, and what a cut would keep."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.theme import Theme
from textual.widgets import Button, ContentSwitcher, OptionList, Select, Static
from textual.widgets.option_list import Option

from storage.errors import RecsysError
from tui import layer_data
from tui.job_watch import JobNews
from tui.layer_data import Row, band_words, layer_words, ratio_words
from tui.screens.room import Room
from tui.shown import shown
from tui.text import plain
from tui.widgets.heat import Grid, HeatList, Palette, heat_line, numbers_line
from tui.widgets.missing import Missing, Offer
from tui.widgets.no_data import NoData
from tui.widgets.profile_bars import ProfileBars

if TYPE_CHECKING:
    from storage.records import Category

LEGEND = "of the row's largest, - below 0 · K stays when 50 or 75 % are cut"


class Layers(Room):
    """A heat map of criteria by layers; below it the criterion that is chosen."""

    TITLE = "Layers"
    ABOUT = (
        "One line a criterion, one column a layer, shaded against the line's own largest value. "
        "Below: the chosen criterion with 95 % intervals over requests, and the layers that stay "
        "when half (cut 50 %) or three quarters (cut 75 %) of them go: those of largest value."
    )
    DEFAULT_CSS = """
    Layers #layers-top { height: 1; }
    Layers #layers-top Select { width: 1fr; max-width: 90; }
    Layers #layers-top Label { width: auto; }
    Layers #heat {
        height: auto; max-height: 40%; background: $background; scrollbar-size-vertical: 1;
    }
    Layers.-low #heat { max-height: 6; }
    Layers #heat:focus { background-tint: $foreground 0%; }
    Layers #figures { height: auto; max-height: 5; margin-top: 1; }
    Layers.-low #figures, Layers.-tiny #figures { margin-top: 0; }
    Layers.-tiny #heat { max-height: 3; }
    Layers.-tiny #figures { max-height: 4; }
    Layers .legend { color: $text-muted; height: 1; }
    Layers #measured { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "weights", "Weights"),
        Binding("r", "reload", "Reload", show=False),
    ]

    def __init__(self) -> None:
        """Know nothing yet."""
        super().__init__()
        self.VERTICAL_BREAKPOINTS = [(0, "-tiny"), (21, "-low"), (34, "-tall")]
        self._measured: dict[str, tuple[Row, ...]] = {}
        self._weights = ""
        self._layer = 0

    def body(self) -> ComposeResult:
        """Make map and bars, and what stands there while nothing was measured."""
        no_data = NoData()
        no_data.id = "no-data"
        with ContentSwitcher(initial="measured", id="beside"):
            with Vertical(id="measured"):
                with Horizontal(id="layers-top"):
                    weights: Select[str] = Select([], prompt="no weights", compact=True, id="of")
                    yield weights
                yield Static("", id="numbers", markup=False)
                yield HeatList(id="heat", compact=True, markup=False)
                yield Static("", id="legend", classes="legend", markup=False)
                yield Static("", id="figures", markup=False)
                yield ProfileBars(id="bars")
            yield Vertical(id="missing")
            yield no_data

    def on_mount(self) -> None:
        """Hear of categories, of jobs that measure, and of the colours."""
        self.recsys.job_signal.subscribe(self, self._heard)
        self.recsys.theme_changed_signal.subscribe(self, self._recoloured)
        self.query_one("#heat").focus()

    def on_screen_resume(self) -> None:
        """Look again: something may have been measured meanwhile."""
        self._load()

    def on_resize(self, event: events.Resize) -> None:
        """Lay the columns out anew."""
        self.call_after_refresh(self._show_rows)

    def category_changed(self, category: Category | None) -> None:
        """Show what was measured of it."""
        self._measured, self._weights = {}, ""
        self._load()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The criteria of the weights that are chosen."""
        return self._measured.get(self._weights, ())

    @property
    def row(self) -> Row | None:
        """The criterion that is chosen."""
        place = self.query_one("#heat", OptionList).highlighted
        return self.rows[place] if place is not None and place < len(self.rows) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what there is something for."""
        if action == "weights":
            return len(self._measured) > 1
        return bool(self.rows) if action == "layer" else True

    def action_layer(self, step: int) -> None:
        """Look at a layer further on, or back."""
        if self.row is not None:
            self._layer = (self._layer + step) % len(self.row.profile.layers)
            self._show_row()

    def action_weights(self) -> None:
        """Show the next weights that were measured."""
        names = list(self._measured)
        following = names[(names.index(self._weights) + 1) % len(names)]
        self.query_one("#of", Select).value = following

    def action_reload(self) -> None:
        """Look into the Store again."""
        self._load()

    @on(Select.Changed, "#of")
    def _chosen(self, event: Select.Changed) -> None:
        if isinstance(event.value, str) and event.value != self._weights:
            self._weights, self._layer = event.value, 0
            self._show_rows()

    @on(OptionList.OptionHighlighted, "#heat")
    def _highlighted(self) -> None:
        self._show_row()

    @on(Missing.Chosen)
    def _offered(self, event: Missing.Chosen) -> None:
        if event.action == "again":
            self.recsys.load_category()
        else:
            self.recsys.switch_mode(event.action)

    def _heard(self, news: JobNews) -> None:
        """Look again once a job that measures has ended."""
        self.query_one(NoData).news(news)
        if news.job.spec.kind == "distil" and not news.job.going and not news.first:
            self._load()

    @work(exclusive=True, group="layers")
    async def _load(self) -> None:
        category = self.recsys.category
        if category is None:
            if self.recsys.loaded:
                self._measured = {}
                self.query_one("#beside", ContentSwitcher).current = "no-data"
                self.query_one(NoData).look()
            return
        try:
            found = await self.recsys.ask_store(
                lambda store: layer_data.measured(store, category.id)
            )
        except RecsysError as error:
            await self._show_missing(Missing.of(error, [Offer("again", "Try again")]))
            return
        if not found:
            await self._show_missing(nothing_measured(category.name))
            return
        self._show(found)

    async def _show_missing(self, missing: Missing) -> None:
        self._measured = {}
        place = self.query_one("#missing")
        await place.remove_children()
        await place.mount(missing)
        self.query_one("#beside", ContentSwitcher).current = "missing"
        if self.is_current:
            missing.query(Button).first().focus()
        self.refresh_bindings()

    def _show(self, found: dict[str, tuple[Row, ...]]) -> None:
        self.query_one("#beside", ContentSwitcher).current = "measured"
        if found == self._measured:
            return
        self._measured = found
        if self._weights not in found:
            self._weights, self._layer = next(iter(found)), 0
        select = self.query_one("#of", Select)
        with select.prevent(Select.Changed):
            select.set_options([(shown(name, 86), name) for name in found])
            select.value = self._weights
        self._show_rows()
        if self.focused is None or not self.focused.display:
            self.query_one("#heat").focus()
        self.refresh_bindings()

    def _show_rows(self) -> None:
        rows = self.rows
        if not rows:
            return
        heat = self.query_one("#heat", OptionList)
        before = heat.highlighted
        palette, grid = self._palette(), self._grid()
        lines = [heat_line(row.name, row.shares, grid, palette) for row in rows]
        with heat.prevent(OptionList.OptionHighlighted):
            heat.set_options([Option(line) for line in lines])
            heat.highlighted = before if before is not None and before < len(rows) else 0
        layers = len(rows[0].profile.layers)
        legend = f"{'percent' if grid.cell > 3 else 'tenths'} {LEGEND}"
        if grid.layers < layers:
            legend = f"{grid.layers} of {layers} layers fit; {legend}"
        self.query_one("#legend", Static).update(legend)
        self._show_row()

    def _show_row(self) -> None:
        row = self.row
        if row is None:
            return
        grid = self._grid()
        self._layer = min(self._layer, len(row.profile.layers) - 1)
        self.query_one("#numbers", Static).update(numbers_line(grid, self._layer))
        self.query_one("#figures", Static).update(figures(row, self._layer))
        self.query_one(ProfileBars).show(row, grid, self._layer)

    def _grid(self) -> Grid:
        longest = max(len(row.name) for row in self.rows)
        layers = max(len(row.profile.layers) for row in self.rows)
        # A column at either side is padding, and one the list's scrollbar.
        return Grid.fitting(max(20, self.size.width - 3), layers, longest)

    def _palette(self) -> Palette:
        colours = self.recsys.theme_variables
        low, high, below = (Color.parse(colours[name]) for name in ("surface", "primary", "error"))
        return Palette(low, high, below)

    def _recoloured(self, theme: Theme) -> None:
        self._show_rows()


def nothing_measured(category: str) -> Missing:
    """Say that no layers of a category were measured, and how to have it done."""
    return Missing(
        f"no layers were measured on requests of {category} yet",
        [
            Offer("distil", "Distil: the layers are measured on the way"),
            Offer("again", "Look again"),
        ],
        further=f"recsys importance --category {shlex.quote(category)}",
    )


def figures(row: Row, layer: int) -> Content:
    """Return what is said of a criterion: its meaning, the ratio, the bands, one layer."""
    profile = row.profile
    requests = "1 request" if profile.requests == 1 else f"{profile.requests} requests"
    measured = f"{requests}, {row.loss}" if row.loss else requests
    return Content.assemble(
        (plain(row.name), "bold"),
        f"  {plain(row.meaning)}\n" if row.meaning else "\n",
        f"{ratio_words(profile.details)} · {layer_words(profile, layer)}\n",
        f"{band_words(profile.layers)} · {measured}",
    )
