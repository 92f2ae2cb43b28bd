"""A Llama as a Hugging Face directory: its files copied, or a GGUF file de-quantised into one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from distill.exporting.events import Exported
from distill.exporting.sources import Llama
from distill.exporting.writing import refuse_taken, whole_directory
from recommender.backends.gguf import CONVERTER, load_gguf
from recommender.backends.weights import weights_digest
from recommender.events import Event, Progress, StageDone, StageStarted
from storage.artifacts import MANIFEST, Artifacts

STAGE = "copy"


def export_directory(
    model: Llama,
    target: Path,
    artifacts: Artifacts,
    *,
    force: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Write a directory that transformers opens; the last event is `Exported`.

    Args:
        model: a directory, or a GGUF file, whose numbers become float32.
        target: the directory.
        artifacts: where conversions are kept.
        force: replace a model's directory that is there.
        clock: gives seconds.

    Raises:
        BadSetting: the target is taken.
        BadData: a GGUF file that cannot be read.
        StoreUnavailable: it cannot be written.
    """
    refuse_taken(target, force=force)
    started = clock()
    files = [one for one in _folder(model, artifacts).iterdir() if one.is_file()]
    files = sorted(one for one in files if one.name != MANIFEST)
    size = sum(one.stat().st_size for one in files)
    yield StageStarted(STAGE, size // 1_000_000, "MB")
    done = 0
    with whole_directory(target, force=force, size=size) as part:
        for file in files:
            shutil.copyfile(file, part / file.name)
            done += file.stat().st_size
            yield Progress(STAGE, done // 1_000_000, size // 1_000_000, file.name)
    yield StageDone(STAGE, clock() - started, f"{size / 1e6:.0f} MB")
    said = f"{len(files)} files, as they are"
    if model.place.kind == "gguf":
        said = f"{model.place.path.name}, de-quantised to float32"
    yield Exported(
        "hf",
        str(target),
        size,
        (said,),
        f"recsys recommend --by teacher --teacher {target} --user …",
    )


def _folder(model: Llama, artifacts: Artifacts) -> Path:
    if model.place.kind == "directory":
        return model.place.path
    import torch

    digest = weights_digest(model.place)
    load_gguf(model.place, digest, artifacts=artifacts, dtype=torch.float32)
    kept = artifacts.find("model", {"weights": digest, "converter": CONVERTER})
    assert kept is not None, "a conversion that was just used is kept"
    return Path(kept.path)
