"""Choosing a category from those there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.shown import shown

if TYPE_CHECKING:
    from storage.records import Category


class ChooseCategory(ModalScreen[str | None]):
    """A list of categories; its result is the name of one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]
    DEFAULT_CSS = "ChooseCategory OptionList { width: 70; max-width: 100%; height: auto; }"

    def __init__(self, categories: Sequence[Category]) -> None:
        """`categories` are offered in their order."""
        super().__init__()
        self.categories = tuple(categories)

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical():
            if not self.categories:
                yield Static("there is no data yet", markup=False)
            yield OptionList(*(Option(shown(_line(one), 66)) for one in self.categories))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """End with the name."""
        self.dismiss(self.categories[event.option_index].name)


def _line(one: Category) -> str:
    kind = " (synthetic sample)" if one.synthetic else ""
    return f"{one.name}{kind} · {one.people:,} people, {one.items:,} items"
