"""A Llama back on an Ollama server, where `--teacher NAME` finds it; or the files for that.

As a GGUF file with its teacher's tokenizer, since a server guesses that of a directory. What was
made is asked a few prompts, and removed again where it answers otherwise than what it was made
of.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from distill.exporting.events import Exported
from distill.exporting.llama_layout import Format
from distill.exporting.probing import NotTheSame, Probe, require_same
from distill.exporting.sources import Llama
from distill.exporting.teachers import Teacher
from distill.exporting.to_gguf import expect, export_gguf, figures_of, write_gguf
from distill.exporting.writing import clear_abandoned, refuse_taken, whole_file
from recommender.backends.errors import CannotTeach, ServerDown
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.creating import (
    Manners,
    ServerFiles,
    file_digest,
    modelfile,
    require_files,
)
from recommender.backends.ollama.models import ServerModels, same_name
from recommender.backends.ollama.names import model_name
from recommender.chat_prompts import OPENING
from recommender.config import Settings
from recommender.differences import compare
from recommender.events import Event, Notice, Progress, StageDone, StageSkipped, StageStarted
from recommender.parity import DEFAULT_PROMPTS, QUESTION, ask_server
from storage.artifacts import Artifacts
from storage.errors import BadSetting

SCRATCH = "export-"
UPLOAD, CREATE, PROBE = "upload", "create", "ask it on the server"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made."""

    name: str
    """On the server."""
    format: Format
    force: bool
    folder: Path
    """Where files go if no server answers."""


def export_ollama(
    model: Llama,
    teacher: Teacher,
    order: Order,
    settings: Settings,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Make a model of a server's; without one, the files and the command that makes it.

    The last event is `Exported`.

    Args:
        model: a directory, or a GGUF file, which is sent as it is.
        teacher: whose tokenizer, template and stop words it keeps.
        order: what is to be made.
        settings: the first of its hosts is the server.
        clock: gives seconds.

    Raises:
        BadSetting: no model can be called that, or one is.
        NotTheSame: it answered otherwise than what it was made of, and was removed.
        BackendError: the server will not, or names no log-probabilities to compare.
    """
    model_name(order.name)
    artifacts = Artifacts(settings.artifacts)
    with OllamaClient(settings.hosts[0] if settings.hosts else "") as client:
        try:
            require_files(client)
        except ServerDown as error:
            yield Notice(f"{error.what}: the files for it are written instead")
            yield from _files(model, teacher, order, artifacts, clock)
            return
        _refuse_present(client, order)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        clear_abandoned(settings.data_dir, f"{SCRATCH}*")
        with TemporaryDirectory(prefix=SCRATCH, dir=settings.data_dir) as folder:
            if model.place.kind == "gguf":
                file, source = model.place.path, "of the file itself"
            else:
                file = Path(folder, "model.gguf")
                made = yield from write_gguf(model, teacher, file, format=order.format, clock=clock)
                source = made.source
            yield from _made(client, file, order, teacher.manners, clock)
            probe = yield from _probed(client, model, teacher, order, artifacts, clock)
    yield Exported(
        "ollama",
        order.name,
        0,
        (f"tokenizer {source}", *_kept(teacher.manners), probe.in_words()),
        f"recsys recommend --by teacher --teacher {order.name} --user …",
        figures_of(probe),
    )


def _refuse_present(client: OllamaClient, order: Order) -> None:
    with ServerModels(client) as models:
        taken = any(same_name(one.name, order.name) for one in models.pulled())
    if taken and not order.force:
        raise BadSetting(
            f"the server at {client.address} has a model {order.name!r} already",
            next_step="--force to replace it",
        )


def _made(
    client: OllamaClient, file: Path, order: Order, manners: Manners, clock: Callable[[], float]
) -> Generator[Event, None, None]:
    """Send the file unless it is there, and have a model made of it."""
    started, size = clock(), file.stat().st_size
    digest = file_digest(file)
    with ServerFiles(client) as files:
        if files.has(digest):
            yield StageSkipped(UPLOAD, "the server has the file")
        else:
            yield StageStarted(UPLOAD, size // 1_000_000, "MB")
            for sent in files.send(file, digest):
                yield Progress(UPLOAD, sent // 1_000_000, size // 1_000_000)
            yield StageDone(UPLOAD, clock() - started, f"{size / 1e6:.0f} MB")
        started = clock()
        yield StageStarted(CREATE)
        for number, status in enumerate(files.create(order.name, digest, manners)):
            yield Progress(CREATE, number, note=status)
        yield StageDone(CREATE, clock() - started, order.name)


def _probed(
    client: OllamaClient,
    model: Llama,
    teacher: Teacher,
    order: Order,
    artifacts: Artifacts,
    clock: Callable[[], float],
) -> Generator[Event, None, Probe]:
    """Ask the model on the server and what it was made of; remove it where they differ."""
    started = clock()
    yield StageStarted(PROBE)
    server = OllamaBackend.open(order.name, host=client.address)
    try:
        probe = probed(server, model, teacher, order.format, artifacts)
    finally:
        server.close()
    try:
        require_same(probe, order.name, order.format)
    except NotTheSame as error:
        with ServerFiles(client) as files:
            files.delete(order.name)
        raise NotTheSame(f"{error.what}; it was removed", next_step=error.next_step) from error
    yield StageDone(PROBE, clock() - started)
    return probe


def probed(
    server: OllamaBackend,
    model: Llama,
    teacher: Teacher,
    format: Format,
    artifacts: Artifacts | None,
    prompts: tuple[str, ...] = (),
) -> Probe:
    """Compare a server's model with what it was made of.

    Args:
        server: the model that was made.
        model: what it was made of.
        teacher: whose loss in the format is allowed for.
        format: it was written in.
        artifacts: where conversions are kept.
        prompts: asked as they are; none means the usual ones, one inside the model's template.
    """
    if "letters" not in server.describe().abilities:
        raise CannotTeach(
            f"{server.describe().name!r} was made, and cannot be compared with what it was made "
            f"of: {server.describe().server} names no log-probabilities",
            next_step="update Ollama, then the same command with --force",
        )
    asked = prompts or (*DEFAULT_PROMPTS, server.template.around(QUESTION, OPENING))
    there = [ask_server(server, prompt) for prompt in asked]
    expected = expect(model, teacher, format, artifacts, asked)
    parity = compare(
        [count for count, _ in there],
        [count for count, _ in expected.answers],
        [top for _, top in there],
        [named for _, named in expected.answers],
    )
    return Probe(parity, expected.loss)


def _files(
    model: Llama,
    teacher: Teacher,
    order: Order,
    artifacts: Artifacts,
    clock: Callable[[], float],
) -> Iterator[Event]:
    """Write the GGUF file and the Modelfile, and say the command."""
    stem = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in order.name)
    recipe = order.folder / f"{stem}.Modelfile"
    refuse_taken(recipe, force=order.force)
    figures: Mapping[str, float] = {}
    summary: tuple[str, ...] = ()
    if model.place.kind == "gguf":
        source = str(model.place.path.resolve())
    else:
        target = order.folder / f"{stem}.gguf"
        source = f"./{target.name}"
        for event in export_gguf(
            model,
            teacher,
            target,
            format=order.format,
            force=order.force,
            artifacts=artifacts,
            clock=clock,
        ):
            if isinstance(event, Exported):
                size = f"{target.name}, {event.size / 1e6:,.1f} MB"
                figures, summary = event.figures, (size, *event.summary)
            else:
                yield event
    with whole_file(recipe, force=order.force) as part:
        part.write_text(modelfile(source, teacher.manners), encoding="utf-8")
    yield Exported(
        "ollama",
        str(recipe),
        0,
        (*summary, *_kept(teacher.manners)),
        shlex.join(["ollama", "create", order.name, "-f", str(recipe)]),
        figures,
    )


def _kept(manners: Manners) -> tuple[str, ...]:
    """Say what of the teacher's was carried over besides the tokenizer."""
    if not manners.template and not manners.stops:
        return ()
    return (f"template and {len(manners.stops)} stop words of the teacher",)
