"""What a distillation is asked: teacher, weights, student, method, and how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Button, Checkbox, Input, Label, Select, Static

from distill.methods import METHODS, RANKED_METHODS, TEXT_METHODS
from distill.students import described, reads_text
from tui.distil_choices import Wanted, needs_of
from tui.distil_offers import OWN, Choice, joined
from tui.shown import shown

STARTS = (Choice("text", "the text of the items"), Choice("free", "chance"))
LISTED = {**METHODS, **RANKED_METHODS}
"""What a sequential student can learn by."""
MINUTES = "10"
"""What a first try may take."""
OF_TEACHER = ("minutes", "requests", "gate")
"""Fields that are of no use where nobody teaches."""
OF_ITEMS = ("start-from", "epochs", "final", "minutes", "requests")
"""Fields that are of no use to a student that reads text: it learns from as many tokens."""
START, STARTING = "Start", "seeing whether the teacher answers …"


class Tick(Checkbox):
    """A box that is empty where it is not ticked: colour alone would not say so."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        """Draw it anew."""
        self.BUTTON_INNER = "X" if self.value else " "
        super().watch_value()


class DistilForm(VerticalScroll):
    """A form; `wanted` is what it says."""

    can_focus = False
    DEFAULT_CSS = """
    DistilForm { padding: 0 1; }
    DistilForm .row { height: 1; width: 1fr; }
    DistilForm .row > Label { width: 12; color: $text-muted; }
    DistilForm .row > .second { margin-left: 2; }
    DistilForm .row > Select { width: 1fr; max-width: 70; }
    DistilForm .row > Input { width: 9; background: $surface; }
    DistilForm .about { color: $text-muted; margin-left: 12; height: auto; max-width: 70; }
    DistilForm Tick { background: transparent; border: none; padding: 0; margin-left: 12; }
    DistilForm #form-category { height: auto; margin-bottom: 1; }
    DistilForm #start { margin: 1 0 0 12; }
    """

    class Start(Message):
        """What the form says is to be done."""

        def __init__(self, wanted: Wanted) -> None:
            """`wanted` has not been checked."""
            super().__init__()
            self.wanted = wanted

    def __init__(self, teacher: str, *, id: str | None = None) -> None:
        """`teacher` is the one there is; more come with `offer_teachers`."""
        super().__init__(id=id)
        self.category = ""
        self._teachers = [Choice(teacher, teacher)]
        self._followed: str | None = None

    def compose(self) -> ComposeResult:
        """Make the fields."""
        yield Static("", id="form-category", markup=False)
        with Horizontal(classes="row"):
            yield Label("Teacher", markup=False)
            yield _select("teacher", self._teachers)
        yield Static("", id="teacher-about", classes="about", markup=False)
        with Horizontal(classes="row"):
            yield Label("Weights", markup=False)
            yield _select("weights", [Choice(OWN, "the teacher's own")])
        with Horizontal(classes="row"):
            yield Label("Student", markup=False)
            yield _select("student", [Choice(n, f"{n} · {about}") for n, _, about in described()])
        with Horizontal(classes="row"):
            yield Label("starts from", markup=False)
            yield _select("start-from", STARTS)
        with Horizontal(classes="row"):
            yield Label("Method", markup=False)
            yield _select("method", [Choice(name, name) for name in LISTED])
        yield Static("", id="method-about", classes="about", markup=False)
        with Horizontal(classes="row"):
            yield from _field("minutes", "Minutes", MINUTES, "no limit")
            yield from _field("requests", "Requests", "", "as fit", second=True)
        with Horizontal(classes="row"):
            yield from _field("epochs", "Epochs", "", "30")
            yield from _field("seed", "Seed", "", "0", second=True)
        with Horizontal(classes="row"):
            yield from _field("tokens", "Tokens", "", "50000")
        yield Tick("even if no better than chance", id="gate", compact=True)
        yield Tick("then train on everything once more", id="final", compact=True)
        yield Button(START, id="start", variant="primary", compact=True)

    def show_category(self, name: str, says: str) -> None:
        """Say whose people and items the student is for."""
        self.category = name
        self.query_one("#form-category", Static).update(shown(f"Distil {says} · c: another"))

    def offer_teachers(self, choices: Sequence[Choice], about: str) -> None:
        """Let one of these be chosen; `about` says how far the search for them is."""
        self._teachers = list(choices)
        self._offer_teachers()
        self.query_one("#teacher-about", Static).update(shown(about))

    def follow(self, teacher: str) -> None:
        """Choose the teacher that is compared; one chosen here stays until another is compared."""
        if teacher != self._followed:
            self._followed = teacher
            self._offer_teachers()
            self.query_one("#teacher", Select).value = teacher

    def _offer_teachers(self) -> None:
        beside = "" if self._followed is None else self._followed
        followed = [Choice(beside, f"{beside} · of the Compare screen")] if beside else []
        _offer(self.query_one("#teacher", Select), joined(self._teachers, followed))

    def asking(self, is_so: bool) -> None:
        """Say that a start waits for the teacher's answer, or that it waits no more."""
        button = self.query_one("#start", Button)
        button.label, button.disabled = (STARTING if is_so else START), is_so

    def offer_weights(self, choices: Sequence[Choice]) -> None:
        """Let one of these be chosen."""
        _offer(self.query_one("#weights", Select), choices)

    def focus_first(self) -> None:
        """Begin with the first field."""
        self.query_one("#teacher", Select).focus()

    @property
    def wanted(self) -> Wanted:
        """What the form says; a field that is closed says nothing."""

        def text(name: str) -> str:
            field = self.query_one(f"#{name}", Input)
            return "" if field.disabled else field.value

        def ticked(name: str) -> bool:
            box = self.query_one(f"#{name}", Checkbox)
            return box.value and not box.disabled

        return Wanted(
            category=self.category,
            teacher=_chosen(self.query_one("#teacher", Select)),
            weights=_chosen(self.query_one("#weights", Select)),
            student=_chosen(self.query_one("#student", Select)),
            start=_chosen(self.query_one("#start-from", Select)),
            method=_chosen(self.query_one("#method", Select)),
            minutes=text("minutes"),
            requests=text("requests"),
            epochs=text("epochs"),
            tokens=text("tokens"),
            seed=text("seed"),
            ignore_gate=ticked("gate"),
            final=ticked("final"),
        )

    def on_select_changed(self, event: Select.Changed) -> None:
        """Offer the methods of a student; say what one does, and close what it does not need."""
        if event.select.id == "student":
            listed = TEXT_METHODS if self._reads_text else LISTED
            _offer(self.query_one("#method", Select), [Choice(name, name) for name in listed])
        if event.select.id in ("student", "method"):
            self._close_fields(_chosen(self.query_one("#method", Select)))

    @property
    def _reads_text(self) -> bool:
        return reads_text(_chosen(self.query_one("#student", Select)))

    def _close_fields(self, name: str) -> None:
        text, needs = self._reads_text, needs_of(name)
        bare = needs.teacher and not needs.weights and not text
        listed = TEXT_METHODS if text else LISTED
        about = f"{listed[name].about}{'; no weights are opened' if bare else ''}"
        self.query_one("#method-about", Static).update(shown(about))
        # A student that reads text is made of the teacher's weights, whatever it hears.
        self.query_one("#teacher", Select).disabled = not (text or needs.teacher)
        self.query_one("#weights", Select).disabled = not (text or needs.weights)
        self.query_one("#tokens", Input).disabled = not text
        for field in {*OF_TEACHER, *OF_ITEMS}:
            idle = (field in OF_TEACHER and not needs.teacher) or (field in OF_ITEMS and text)
            self.query_one(f"#{field}").disabled = idle

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Say what is wanted."""
        event.stop()
        self.post_message(self.Start(self.wanted))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field is no start: one of many minutes should be meant."""
        event.stop()
        self.query_one("#start", Button).focus()


def _select(name: str, choices: Sequence[Choice]) -> Select[str]:
    options = [(shown(one.says, 68), one.value) for one in choices]
    made: Select[str] = Select(options, allow_blank=False, id=name, compact=True)
    return made


def _offer(select: Select[str], choices: Sequence[Choice]) -> None:
    """Offer other choices, and keep what was chosen where it is among them."""
    before = select.value
    values = [one.value for one in choices]
    select.set_options([(shown(one.says, 68), one.value) for one in choices])
    select.value = before if before in values else values[0]


def _chosen(select: Select[Any]) -> str:
    return str(select.value)


def _field(
    name: str, label: str, value: str, empty: str, *, second: bool = False
) -> list[Label | Input]:
    kind: Literal["number", "integer"] = "number" if name == "minutes" else "integer"
    return [
        Label(label, markup=False, classes="second" if second else ""),
        Input(value, placeholder=empty, id=name, type=kind, compact=True, max_length=8),
    ]
