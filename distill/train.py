"""Trains a student: the loop, readable from top to bottom.

One function serves both arms of a comparison. Without a `Distillation` it is the plain
student; with one, the same sequences come in the same order to the same first weights, and
each step also hears the teacher. What has a name of its own (losses, batches, schedule,
checkpoint) is called, not inlined.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize

from distill.boards import open_board
from distill.data import Distillation, TrainData
from distill.memory import forget_peak
from distill.schedule import rate_share
from distill.student import Student
from distill.training import STAGE, StepDone, TrainConfig
from recommender.events import Event, Notice, Progress, StageDone, StageStarted


def train(
    config: TrainConfig,
    data: TrainData,
    distillation: Distillation | None = None,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    tensorboard: Path | None = None,
) -> Iterator[Event]:
    """Train a student; the last event is `Trained`.

    L = a_task · CE + a_out · T² KL(q ‖ p) + a_layer · (1/M) Σ_m ω_m D_m + λ L_d, the last three
    on teacher's requests (algorithms.md §1.3, `distill.ranked`); without a teacher, CE alone.

    Args:
        config: how; everything random follows from its seed.
        data: what people did.
        distillation: what a teacher said, or None for the plain student.
        device: of torch.
        checkpoint: directory to keep the standing in: after every epoch, from time to time,
            and when the generator is closed. With one there, the run goes on from it and
            ends (on a CPU, with as many threads) with the same bytes as without a stop.
        tensorboard: directory to write losses and validations to.

    Raises:
        BadSetting: settings that do not fit the data, or a checkpoint of another run.

    >>> import numpy as np
    >>> data = TrainData(9, np.arange(9), np.array([0, 4, 9]))
    >>> *_, last = train(TrainConfig(start="free", epochs=1), data)
    >>> last.steps, last.weights["table"].shape
    (1, (9, 64))
    """
    forget_peak()
    student = Student(config, data, distillation, device=device, checkpoint=checkpoint)
    resumed = student.resume()
    now, plan = student.standing, student.plan
    if resumed:
        yield Notice(f"going on from step {now.step} of {plan.last_step}")
    if student.task.why_sampled:
        yield Notice(student.task.why_sampled)
    yield StageStarted(STAGE, plan.last_step, "steps")
    with open_board(tensorboard, begun=now.step) as board:
        try:
            while True:
                if now.epochs < now.step // plan.epoch_steps:  # one is complete, not yet judged
                    evaluated = student.end_epoch()
                    board.hear(evaluated)
                    student.save()
                    yield evaluated
                if student.is_done():
                    break

                done = _step(student)
                board.hear(done)
                yield done
                if now.step % 10 == 0 or now.step == plan.last_step:
                    yield Progress(STAGE, now.step, plan.last_step, f"loss {done.loss:.3f}")
                student.save(after=config.checkpoint_seconds)
        except GeneratorExit:
            # Closed by the consumer, so between steps: everything fits together. Any other
            # exception may have come in the middle of one, and must not replace a checkpoint.
            student.save()
            raise
    yield StageDone(STAGE, now.seconds, f"{now.step} steps, best epoch {now.best_epoch}")
    yield student.result()


def _step(student: Student) -> StepDone:
    """Do one step; return the parts of its loss."""
    config, now = student.config, student.standing
    for group in student.optimiser.param_groups:
        share = rate_share(now.step, student.plan.steps, config.warmup)
        group["lr"] = config.learning_rate * share
    with parametrize.cached():
        parts = student.losses()  # a projected table is made once a step
    loss = torch.stack(list(parts.values())).sum()
    student.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    student.follow()
    nn.utils.clip_grad_norm_(student.network.parameters(), config.clip)
    student.optimiser.step()
    student.advance(loss.item())
    return StepDone(now.step, loss.item(), {name: part.item() for name, part in parts.items()})
