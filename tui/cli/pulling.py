"""Models brought onto the Ollama server before they are asked, where the user said so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.cli.progress import follow

if TYPE_CHECKING:
    from recommender.config import Settings


def pull_models(settings: Settings, specs: Sequence[str]) -> None:
    """Pull those of the teachers that are a server's and are not there, on every host."""
    # Imported here: `recsys --help` pulls nothing.
    from recommender.backends.ollama.pulling import Pulled, pull
    from recommender.backends.opening import kind_of

    for spec in specs:
        kind, name = kind_of(spec, settings)
        if kind == "server":
            for host in settings.hosts or ("",):
                follow(pull(name, host=host), Pulled)
