"""Bringing a model onto a server, as events that a bar can be drawn of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from recommender.backends.errors import ModelMissing, ServerDown
from recommender.backends.ollama.client import FIRST_ANSWER_SECONDS, OllamaClient
from recommender.backends.ollama.models import ServerModels
from recommender.backends.ollama.names import model_name
from recommender.events import Event, Progress, StageDone, StageSkipped, StageStarted


@dataclass(frozen=True, slots=True)
class Pulled(Event):
    """The model is on the server."""

    name: str
    digest: str
    address: str


def pull(
    name: str,
    *,
    host: str = "",
    insecure: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Bring a model onto a server unless it is there; ends with `Pulled`.

    A pull that was cut goes on where it was: the server keeps what it has.

    Raises:
        BadSetting: no model can be called that.
        ModelMissing: no registry has it.
        ServerDown: no server answers, or it cannot reach the registry.
    """
    name = model_name(name)
    try:
        yield from _pull(name, host, insecure, clock)
    except ServerDown as error:
        # What it advises otherwise, another teacher, is not what was asked for here.
        where = f" --host {host}" if host else ""
        step = (
            "see that `ollama serve` runs there and reaches the network, then again: "
            f"recsys models pull {name}{where}"
        )
        raise ServerDown(error.what, next_step=step) from error


def _pull(name: str, host: str, insecure: bool, clock: Callable[[], float]) -> Iterator[Event]:
    started = clock()
    # Nothing is said while a large model is verified.
    patient = OllamaClient(host, answer_seconds=FIRST_ANSWER_SECONDS)
    with patient as client, ServerModels(client) as models:
        client.version()
        stage = f"pull {name}"
        try:
            digest = models.show(name).digest
            yield StageSkipped(stage, f"{name} is on {client.address}")
        except ModelMissing:
            yield StageStarted(stage, 0, "MB")
            layers: dict[str, tuple[int, int]] = {}
            try:
                for status, layer, done, total in models.pull(name, insecure=insecure):
                    if total:
                        layers[layer] = (done, total)
                    sums = [sum(column) for column in zip(*layers.values(), strict=True)]
                    have, whole = sums or (0, 0)
                    yield Progress(stage, have // 2**20, whole // 2**20, status)
            except ModelMissing as error:
                raise ModelMissing(
                    f"no registry that {client.address} knows has a model {name!r}",
                    next_step="look its name up on ollama.com/library",
                ) from error
            digest = models.show(name).digest
            yield StageDone(stage, clock() - started)
        yield Pulled(name, digest, client.address)
