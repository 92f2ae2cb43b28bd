"""A GGUF file with layers taken out: blocks are copied as they are, quantised or not.

No network is built and nothing is de-quantised, so the size of a model decides only how much is
copied: in pieces, so that memory stays what one piece is. The same layers taken out of the
opened model by `distill.language.cutting` answer the same.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from distill.exporting.gguf_head import (
    ARRAY,
    Field,
    Head,
    Tensor,
    field_of,
    head_bytes,
    padded,
    read_head,
)
from distill.exporting.writing import refuse_taken, whole_file
from recommender.backends.errors import ServerDown
from recommender.backends.opening import kind_of
from recommender.backends.weights import find_weights
from recommender.config import Settings
from recommender.events import Event, Progress, StageDone, StageStarted
from recommender.models import resolve_model
from storage.errors import BadData, BadSetting, UnknownName

UNNUMBERED = ("llama", "qwen2", "qwen3")
"""Architectures whose layers are all of one kind, so that one may take another's number. In
others, Gemma's or gpt-oss's, the number decides what a layer looks at."""

PIECE = 8 * 2**20
STAGE = "truncate"

_BLOCK = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Truncated(Event):
    """The last event: what was written."""

    path: str
    source: str
    kept: tuple[int, ...]
    """Layers of the source, from 0."""
    layers: int
    """Of the source."""
    size: int
    """Bytes of the file."""
    source_size: int
    parameters: int
    source_parameters: int
    seconds: float


def source_of(name: str, settings: Settings) -> Path:
    """Return the GGUF file of a path, a registered name or a model of this machine's server.

    Raises:
        UnknownName: there is no such thing.
        BadData: it is none.
        BadSetting: the server that has it is another machine, or keeps its file to itself.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if not path.exists() and (path.suffix == ".gguf" or name.startswith(("/", ".", "~"))):
        raise UnknownName(f"there is no file {name!r}")
    kind, model = kind_of(name, settings)
    if kind == "server":
        return _held(model, settings)
    if kind != "process":
        raise BadData(f"{name!r} is no language model")
    place = find_weights(resolve_model(settings.models, model))
    if place.kind != "gguf":
        raise BadData(
            f"{name!r} is a Hugging Face directory: layers are taken out of GGUF files here",
            next_step=f"recsys export {name} --to gguf FILE.gguf",
        )
    return place.path


def _held(model: str, settings: Settings) -> Path:
    # Deferred: the HTTP client takes longer to import than most files need it.
    from recommender.backends.ollama.client import OllamaClient
    from recommender.backends.ollama.models import ServerModels
    from recommender.backends.ollama.own_weights import OWN_FILE, find_own_weights

    with OllamaClient(settings.hosts[0] if settings.hosts else "") as client:
        try:
            client.version()
        except ServerDown as error:
            raise ServerDown(
                f"{error.what}, and nothing here is called {model!r}", next_step="a file's path"
            ) from error
        with ServerModels(client) as models:
            found = find_own_weights(models.show(model), client.address)
    if found.how != OWN_FILE:
        raise BadSetting(
            f"the file of {model!r} is out of reach: {found.reason}",
            next_step="a GGUF file by its path",
        )
    return Path(found.spec)


def open_head(path: Path) -> Head:
    """Read the head of a file that layers can be taken out of.

    Raises:
        BadData: it is no GGUF file, one of several parts, of an architecture whose layers
            know their number, or it does not have the layers it says.
    """
    head = read_head(path)
    if int(head.said("split.count", 1)) > 1:
        raise BadData(
            f"{str(path)!r} is one of {head.said('split.count')} parts of a model",
            next_step=f"llama-gguf-split --merge {path} WHOLE.gguf",
        )
    if head.architecture not in UNNUMBERED:
        raise BadData(
            f"{str(path)!r} is of the {head.architecture or 'unnamed'} kind: layers are taken "
            f"out of {', '.join(UNNUMBERED)} alone, where all are of one kind"
        )
    found = {int(match[1]) for one in head.tensors if (match := _BLOCK.match(one.name))}
    if found != set(range(head.layers)) or not found:
        raise BadData(f"{str(path)!r} is damaged: it says {head.layers} layers, not all are there")
    return head


def truncate(
    head: Head,
    target: Path,
    kept: Sequence[int],
    *,
    force: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Write a file that has only the layers kept; the last event is `Truncated`.

    Args:
        head: of `open_head`.
        target: the file to write.
        kept: layers, from 0, rising.
        force: replace a file that is there.
        clock: gives seconds.

    Raises:
        BadSetting: there is no such layer, or the target is there already.
        StoreUnavailable: the target cannot be written.
    """
    _refuse_wrong(head, kept)
    refuse_taken(target, force=force)
    if target.exists() and target.samefile(head.path):
        raise BadSetting("a file cannot be truncated into itself", next_step="another name")
    started = clock()
    tensors = [made for one in head.tensors if (made := _renumbered(one, kept))]
    fields = [_shortened(one, head, kept) for one in head.fields.values()]
    before = head_bytes(head.version, fields, tensors, head.alignment)
    size = len(before) + sum(padded(one.size, head.alignment) for one in tensors)
    yield StageStarted(STAGE, size // 1_000_000, "MB")
    with (
        whole_file(target, force=force, size=size) as part,
        head.path.open("rb") as source,
        part.open("wb") as stream,
    ):
        stream.write(before)
        done = len(before)
        for one in tensors:
            _copy(source, one, stream)
            stream.write(bytes(padded(one.size, head.alignment) - one.size))
            done += padded(one.size, head.alignment)
            yield Progress(STAGE, done // 1_000_000, size // 1_000_000, one.name)
    seconds = clock() - started
    yield StageDone(STAGE, seconds, f"{size / 1e6:.0f} MB")
    yield Truncated(
        str(target),
        str(head.path),
        tuple(kept),
        head.layers,
        size,
        head.path.stat().st_size,
        sum(one.numbers for one in tensors),
        sum(one.numbers for one in head.tensors),
        seconds,
    )


def _refuse_wrong(head: Head, kept: Sequence[int]) -> None:
    layers = head.layers
    if not kept or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < layers:
        raise BadSetting(f"layers {list(kept)} cannot be kept: rising numbers of 0 to {layers - 1}")


def _renumbered(one: Tensor, kept: Sequence[int]) -> Tensor | None:
    """Return a tensor under its new name; None where its layer goes."""
    match = _BLOCK.match(one.name)
    if match is None:
        return one
    if int(match[1]) not in kept:
        return None
    return replace(one, name=f"blk.{list(kept).index(int(match[1]))}.{one.name[match.end() :]}")


def _shortened(field: Field, head: Head, kept: Sequence[int]) -> Field:
    """Return a field with fewer layers: their number, and every list that has one for each."""
    own = f"{head.architecture}."
    if field.name == f"{own}block_count":
        return field_of(field.name, len(kept), field.kind)
    if not field.name.startswith(own) or field.kind != ARRAY:
        return field
    value = field.value
    if len(value) != head.layers:
        return field
    return field_of(field.name, [value[number] for number in kept], ARRAY, field.members)


def _copy(source: BinaryIO, one: Tensor, stream: BinaryIO) -> None:
    source.seek(one.start)
    left = one.size
    while left:
        piece = source.read(min(PIECE, left))
        if not piece:
            raise BadData(f"{source.name!r} became shorter while it was read")
        stream.write(piece)
        left -= len(piece)
