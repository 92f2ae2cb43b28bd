"""The models of all servers and of this machine, with what each can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.message import Message
from textual.widgets import DataTable

from tui.fitting import fitting
from tui.teacher_data import ModelRow, bytes_shown, floor_of
from tui.text import plain

if TYPE_CHECKING:
    from storage.label_records import NoiseFloor

NAME, LONGEST_NAME = 20, 60
PLACES = (0, 1, 2, 6, 3, 5, 4, 7)
"""Of the columns, the most important first; where a model is stands below the table too."""
HEADS = (
    ("name", "model", NAME),
    ("state", "state", 15),
    ("can", "can", 20),
    ("size", "size", 7),
    ("context", "context", 7),
    ("about", "about", 30),
    ("noise", "noise", 10),
    ("where", "where", 22),
)


class ModelTable(DataTable[Text]):
    """One row a model; the highlight stays with its model when rows come and go."""

    DEFAULT_CSS = "ModelTable { height: 1fr; min-height: 4; scrollbar-size-vertical: 1; }"

    class Fitted(Message):
        """Other columns may be shown."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        super().__init__(cursor_type="row", zebra_stripes=True, fixed_columns=1)
        self.models: tuple[ModelRow, ...] = ()
        self._floors: Mapping[str, NoiseFloor] = {}
        self._settled = False
        self.hidden: list[str] = []
        """Heads of the columns there is no room for."""

    @property
    def current(self) -> ModelRow | None:
        """The model that is highlighted."""
        return self.models[self.cursor_row] if self.cursor_row < len(self.models) else None

    def put(
        self,
        models: Sequence[ModelRow],
        floors: Mapping[str, NoiseFloor],
        *,
        settled: bool = True,
    ) -> None:
        """Show these; what did not change is not drawn again.

        Until all is `settled`, a highlight on top stays on top.
        """
        if tuple(models) == self.models and floors == self._floors and self.row_count:
            self._settled = settled
            return
        follows = self.current is not None and (self._settled or self.cursor_row > 0)
        before = self.current.id if follows and self.current else ""
        self._settled = settled
        self.models, self._floors = tuple(models), dict(floors)
        self._paint(before)

    def on_resize(self) -> None:
        """Give names the room there is."""
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        self._paint(self.current.id if self.current else "")
        self.post_message(self.Fitted())

    def _paint(self, before: str) -> None:
        at = self.scroll_offset
        longest = max((len(row.name) for row in self.models), default=NAME)
        name = max(NAME, min(longest, LONGEST_NAME, self.size.width // 4))
        self.clear(columns=True)
        widths = [name if key == "name" else width for key, _, width in HEADS]
        kept = fitting(widths, self.size.width, order=PLACES)
        self.hidden = [label for place, (_, label, _) in enumerate(HEADS) if place not in kept]
        for place in kept:
            key, label, _ = HEADS[place]
            self.add_column(Text(label, no_wrap=True), width=widths[place], key=key)
        for row in self.models:
            cells = self._cells(row, name)
            self.add_row(*(cells[place] for place in kept), key=row.id)
        place = next((n for n, row in enumerate(self.models) if row.id == before), 0)
        self.move_cursor(row=place, animate=False)
        self.scroll_to(at.x, None, animate=False)

    def _cells(self, row: ModelRow, name: int) -> list[Text]:
        floor = floor_of(row, self._floors)
        style = "bold" if row.state.startswith("●") else ""
        return [
            _text(row.name, name),
            Text(plain(row.state, 15), style=style, no_wrap=True),
            _text(", ".join(row.abilities), 20),
            Text(bytes_shown(row.size), justify="right", no_wrap=True),
            Text(f"{row.context:,}" if row.context else "", justify="right", no_wrap=True),
            _text(row.about, 30),
            _text(f"{floor.floor:.3f} nats" if floor else "–"),
            _text(row.where, 40),
        ]


def _text(text: str, width: int | None = None) -> Text:
    return Text(plain(text, width), no_wrap=True)


def described(row: ModelRow | None, floor: NoiseFloor | None) -> list[str]:
    """Return what is known of a model in sentences.

    >>> row = ModelRow("m:1b", "box:11434", "ollama:m:1b", "○ pulled", "1B Q4_0", host="box",
    ...     abilities=("letters", "json"))
    >>> for line in described(row, None):
    ...     print(line)
    m:1b at box:11434, 1B Q4_0: can letters (with log-probabilities), json
    noise floor not measured; next: recsys doctor --teacher ollama:m:1b
    """
    if row is None:
        return ["no model yet: p pulls one, f fetches the models that come along"]
    words = {"letters": "letters (with log-probabilities)", "?": "what its server does not say"}
    able = ", ".join(words.get(one, one) for one in row.abilities)
    lines = [f"{row.name} at {row.where}, {row.about}: can {able}"]
    if row.host is None:
        lines = [f"{row.name}: {row.about}; can {', '.join(row.abilities)}"]
    if row.missing:
        lines.append("not on this machine: f fetches the models that come along")
    elif floor is None:
        lines.append(f"noise floor not measured; next: recsys doctor --teacher {row.spec}")
    else:
        server = f" on {floor.server}" if floor.server else ""
        lines.append(
            f"no difference under {floor.floor:.3f} nats counts (median {floor.median:.3f}, "
            f"{floor.flips} flips of {floor.comparisons}; {floor.measured_at[:10]}{server})"
        )
    return lines
