"""A Llama's directory as a GGUF file, which is there only once it answers as the directory does."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.exporting.events import Exported
from distill.exporting.gguf_head import read_head
from distill.exporting.llama_gguf import write
from distill.exporting.llama_layout import Format, plan_tensors, require_llama
from distill.exporting.probing import (
    NO_LOSS,
    PROMPTS,
    Answer,
    Probe,
    answers_of,
    apart,
    kept_loss,
    loss_of,
    open_model,
    require_same,
)
from distill.exporting.sources import Llama
from distill.exporting.teachers import Teacher
from distill.exporting.vocabulary import Vocabulary, built, copied
from distill.exporting.writing import refuse_taken, whole_file
from recommender.backends.weights import quiet_transformers, weights_digest
from recommender.events import Event, StageDone, StageStarted
from recommender.parity import Limits
from storage.artifacts import Artifacts
from storage.errors import BadData, BadSetting

STAGE, PROBE = "write GGUF", "compare with the model it was made of"


@dataclass(frozen=True, eq=False, slots=True)
class Expected:
    """What an export has to answer like."""

    answers: list[Answer]
    loss: Limits


def export_gguf(
    model: Llama,
    teacher: Teacher,
    target: Path,
    *,
    format: Format,
    force: bool = False,
    artifacts: Artifacts | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Write a GGUF file and compare it with its source; the last event is `Exported`.

    Args:
        model: of a directory.
        teacher: whose tokenizer is copied where it is a GGUF file.
        target: the file.
        format: of matrices.
        force: replace a file that is there.
        artifacts: where conversions are kept.
        clock: gives seconds.

    Raises:
        BadSetting: it is a GGUF file already, or the target is taken.
        BadData: it is no Llama that could be read back, or its tokenizer cannot be named.
        NotTheSame: the file answers otherwise than its source.
        StoreUnavailable: it cannot be written.
    """
    refuse_gguf(model)
    refuse_taken(target, force=force)
    with whole_file(target, force=force) as part:
        vocabulary = yield from write_gguf(model, teacher, part, format=format, clock=clock)
        started = clock()
        yield StageStarted(PROBE)
        expected = expect(model, teacher, format, artifacts)
        there = answers_of(open_model(part))
        probe = Probe(apart(there, expected.answers), expected.loss)
        require_same(probe, str(target), format)
        yield StageDone(PROBE, clock() - started)
    yield Exported(
        "gguf",
        str(target),
        target.stat().st_size,
        (f"tokenizer {vocabulary.source}", probe.in_words()),
        f"recsys export {target} --to ollama NAME",
        figures_of(probe),
    )


def refuse_gguf(model: Llama) -> None:
    """Refuse to write as a GGUF file what is one.

    Raises:
        BadSetting: it is.
    """
    if model.place.kind == "gguf":
        raise BadSetting(
            f"{model.place.source!r} is a GGUF file already",
            next_step=f"recsys export {model.place.source} --to ollama NAME",
        )


def write_gguf(
    model: Llama,
    teacher: Teacher,
    part: Path,
    *,
    format: Format,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Event, None, Vocabulary]:
    """Write the file, unchecked; return where its tokenizer is from."""
    started = clock()
    directory = model.place.path
    config, tokenizer = _described(directory, model.place.source)
    require_llama(config, model.place.source)
    planned = plan_tensors(directory, config, format)
    vocabulary = vocabulary_of(teacher, directory, tokenizer, config.vocab_size)
    size = sum(one.size for one in planned)
    yield StageStarted(STAGE, size // 1_000_000, "MB")
    yield from write(part, planned, config, vocabulary, format=format, name=model.name, stage=STAGE)
    yield StageDone(STAGE, clock() - started, f"{part.stat().st_size / 1e6:.0f} MB as {format}")
    return vocabulary


def vocabulary_of(teacher: Teacher, directory: Path, tokenizer: Any, rows: int) -> Vocabulary:
    """Copy the tokenizer's fields from the teacher's file; build them where it has none.

    Raises:
        BadData: the file is another model's, or the tokenizer cannot be named.
    """
    if teacher.place is not None and teacher.place.kind == "gguf":
        return copied(read_head(teacher.place.path), tokenizer, rows)
    return built(directory, tokenizer, rows)


def expect(
    model: Llama,
    teacher: Teacher,
    format: Format,
    artifacts: Artifacts | None,
    prompts: Sequence[str] = PROMPTS,
) -> Expected:
    """Ask the model that is exported, and measure what its teacher loses in the format.

    Where the teacher's weights are not here, the model's own loss stands for it. A GGUF file is
    not rounded again, and loses nothing.
    """
    opened = open_model(model.place.path, artifacts)
    answers = answers_of(opened, prompts)
    if model.place.kind == "gguf":
        return Expected(answers, NO_LOSS)
    if teacher.place is None:
        return Expected(answers, loss_of(opened, format))
    del opened  # one model in memory at a time
    place = teacher.place
    return Expected(answers, kept_loss(place.path, weights_digest(place), format, artifacts))


def figures_of(probe: Probe) -> dict[str, float]:
    """Return what a comparison measured, by name, in nats."""
    return {
        "typical": probe.parity.typical,
        "largest": probe.parity.largest,
        "teacher_typical": probe.loss.typical,
        "teacher_largest": probe.loss.largest,
        "compared": float(probe.parity.compared),
    }


def _described(directory: Path, source: str) -> tuple[Any, Any]:
    """Open the configuration and the tokenizer of a directory."""
    from transformers import AutoConfig, AutoTokenizer

    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(directory, local_files_only=True)
            return config, AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadData(f"{source!r} cannot be read: {reason}") from error
