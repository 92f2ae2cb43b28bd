"""All that is kept of one run, as text: its figures by scope, its layers, its settings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from storage.records import Measurement
from tui.intervals import figure
from tui.shown import shown
from tui.standings import Detail, flattened, scope_name
from tui.text import plain

BAR = 20
LONGEST = 300
"""Characters of a foreign text."""


class RunDetail(ModalScreen[None]):
    """Shows one run until it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Back"),
        Binding("enter", "dismiss", "Back", show=False),
        Binding("q", "dismiss", "Back", show=False),
    ]
    DEFAULT_CSS = """
    RunDetail VerticalScroll { width: 96; max-width: 100%; height: 1fr; }
    RunDetail #keys { height: 1; color: $text-muted; }
    """

    def __init__(self, detail: Detail) -> None:
        """`detail` is what is shown."""
        super().__init__()
        self.detail = detail

    def compose(self) -> ComposeResult:
        """Make the text."""
        with Vertical():
            with VerticalScroll():
                yield Static(Content("\n").join(lines(self.detail)))
            yield Static("esc back · ↑ ↓ scroll", id="keys", markup=False)

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(VerticalScroll).focus()


def lines(detail: Detail) -> list[Content]:
    """Return the run as lines.

    >>> from storage.records import Run
    >>> run = Run("p-1", 1, "baseline", "[b]popularity", 3, {"split": "temporal"}, "done", "2026")
    >>> [line.plain for line in lines(Detail(run, (), None, (), ()))][:3]
    ['[b]popularity', 'run p-1: baseline, done, seed 3, made 2026', '']
    """
    return [*_head(detail), *_figures(detail), *_layers(detail), *_settings(detail)]


def _head(detail: Detail) -> Iterator[Content]:
    run = detail.run
    yield shown(run.name, LONGEST).stylize("bold")
    said = f"run {run.id}: {run.kind}, {run.status}, seed {run.seed}, made {run.created_at}"
    yield shown(said, LONGEST)
    if run.final:
        yield Content("final: retrained on everything for serving, so it has no test figures")
    if run.config.get("synthetic"):
        yield Content("made from a synthetic sample: its figures are no results")
    if run.selection is not None:
        yield Content(f"NDCG@10 on validation, which students are chosen by: {run.selection:.4f}")
    for seed, other in detail.other_seeds:
        yield shown(f"the same with seed {seed}: {other}", LONGEST)
    yield Content("")


def _figures(detail: Detail) -> Iterator[Content]:
    ordered = sorted(detail.measured, key=lambda one: one.scope)
    for scope, some in groupby(ordered, key=lambda one: one.scope):
        measured = list(some)
        first = measured[0]
        size = f"{first.n:,} requests of {first.people:,} people, 95 % intervals"
        yield shown(f"{scope_name(scope)} ({size})", LONGEST).stylize("bold $text-primary")
        for one in measured:
            yield _figure(one)
        yield Content("")
    if not ordered:
        yield Content("no figures")
        yield Content("")


def _figure(one: Measurement) -> Content:
    return Content(f"  {plain(one.metric, 40):<14} {figure(one)}")


def _layers(detail: Detail) -> Iterator[Content]:
    if detail.weights:
        said = ", ".join(f"{weight:.3f}" for weight in detail.weights)
        yield Content("layer weights of the student, first block first").stylize(
            "bold $text-primary"
        )
        yield Content(f"  {said}")
        yield Content("")
    profile = detail.profile
    if profile is None:
        return
    head = f"importance of the teacher's layers: {profile.criterion}, {profile.requests} requests"
    yield shown(head, LONGEST).stylize("bold $text-primary")
    most = max(profile.layers, default=0.0) or 1.0
    for layer, value in enumerate(profile.layers):
        length = max(0, min(BAR, round(value / most * BAR)))
        ends = f"[{profile.low[layer]:.3g}, {profile.high[layer]:.3g}]"
        yield Content(f"  {layer + 1:>3} {'━' * length:<{BAR}} {value:.3g} {ends}")
    yield Content("")


def _settings(detail: Detail) -> Iterator[Content]:
    rows = flattened(detail.run.config)
    if rows:
        yield Content("settings").stylize("bold $text-primary")
    width = min(34, max((len(name) for name, _ in rows), default=0))
    for name, value in rows:
        yield Content(f"  {plain(name, width):<{width}}  {plain(value, 200)}")
