"""What can be done about a column that has no answer: offers, by what its ranker said.

Apart from the screen, which takes them up, because here it is written once what mends what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.jobs.records import JobSpec
from recommender.backends.ollama.names import model_name
from recommender.live.messages import Refused
from recommender.models import EMBEDDED_TEACHER, FETCH
from tui.widgets.missing import Offer

if TYPE_CHECKING:
    from recommender.config import Settings

AGAIN = Offer("again", "try again (r)")
EMBEDDED = f"teacher:{EMBEDDED_TEACHER}"
GONE = ("StoreUnavailable", "StoreMissing", "Died", "OutOfMemory", "ArtifactDamaged")
"""Another teacher would not mend these."""


def offers(by: str, refused: Refused | None) -> tuple[Offer, ...]:
    """Return what would mend a column, the best first.

    >>> down = Refused(-1, "no server answers", kind="ServerDown")
    >>> [offer.action for offer in offers("teacher", down)]
    ['embedded', 'again']
    >>> [offer.action for offer in offers("student", Refused(-1, "no student", kind="UnknownName"))]
    ['distil', 'again']
    """
    if refused is None:
        return ()
    kind, _, _ = by.partition(":")
    if refused.next_step == FETCH:
        return (Offer("fetch", "fetch the models"), AGAIN)
    if refused.kind in GONE:
        return (AGAIN,)
    if kind == "student":
        return (Offer("distil", "distil a student (2)"), AGAIN)
    if kind != "teacher":
        return (AGAIN,)
    embedded = () if by == EMBEDDED else (Offer("embedded", f"use {EMBEDDED}"),)
    if refused.kind == "ModelMissing":
        return (Offer("pull", "pull the model"), *embedded, AGAIN)
    return (*embedded, AGAIN)


def job(action: str, by: str, settings: Settings) -> JobSpec:
    """Return the job that an offer starts: 'fetch', or 'pull' of a column's model.

    Raises:
        BadSetting: no server has a model that is called so.

    >>> from pathlib import Path
    >>> from recommender.config import Settings
    >>> job("pull", "teacher:qwen3:8b", Settings(data_dir=Path("shop"))).arguments["name"]
    'qwen3:8b'
    """
    if action == "fetch":
        return JobSpec("fetch", title="fetch the models that come along")
    name = model_name((by.partition(":")[2] or settings.teacher).removeprefix("ollama:"))
    host = settings.hosts[0] if settings.hosts else ""
    return JobSpec("pull", title=f"pull {name}", arguments={"name": name, "host": host})
