"""What `recsys importance --plan` shows: memory and work, from the settings of a model alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tui.cli.lines import print_lines
from tui.cli.render import say, show_json

if TYPE_CHECKING:
    from distill.config import DistilConfig
    from recommender.config import Settings


def show_plan(config: DistilConfig, settings: Settings, *, json: bool) -> None:
    """Print the plan of the model that would be measured here, and of Llama-3-8B on a card.

    Raises:
        BadSetting: there are no weights to measure.
        UnknownName: there is no such model.
        BadData: it is of an unknown kind.
        Offline: the settings of a model on the hub cannot be fetched.
    """
    # Imported here: torch takes longer to load than help may take.
    from distill.importance.plan import plan_lines
    from distill.importance.planning import plans

    found = plans(config, settings)
    if json:
        show_json({title: {**asdict(one), "verdict": one.verdict} for title, one in found.items()})
        return
    for number, (title, one) in enumerate(found.items()):
        if number:
            say()
        say(title)
        # As they are: a table's columns are kept apart by spaces.
        print_lines(plan_lines(one))
