"""The training loop of models that read text: steps, pieces, validation, checkpoints.

What is learned is a `Task`; how long and how fast is a `LoopConfig`. A step may be computed in
pieces that fit into memory, to the same gradient. Whatever a step draws follows from the seed
and the step's number, so a run that was stopped ends (on a CPU, with as many threads) with the
same bytes as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from distill import checkpoint as checkpoints
from distill.boards import open_board
from distill.chance import derived_seed
from distill.memory import forget_peak, peak_bytes
from distill.ranges import require_range
from distill.schedule import rate_share
from distill.training import Evaluated, StepDone
from recommender.events import Event, Notice, Progress, StageDone, StageStarted
from storage.errors import BadSetting

STAGE = "train"


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """How a task is trained.

    >>> LoopConfig(steps=10).batch
    8
    """

    steps: int
    batch: int = 8
    """Examples a step."""
    accumulate: int = 1
    """Pieces a step is computed in."""
    learning_rate: float = 5e-4
    warmup: float = 0.1
    """Share of the steps over which the rate rises; then it falls to 0 as half a cosine."""
    weight_decay: float = 0.01
    """On matrices only."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of what is computed; weights and moments are float32 in both."""
    evaluate_every: int = 20
    """Steps from one validation to the next; the last step is followed by one too."""
    patience: int = 5
    """Validations without a better one before it stops."""
    patient_from: float = 0.0
    """Share of the steps from which such validations are counted: a method may learn something
    else first."""
    seed: int = 0
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check ranges before anything expensive."""
        require_range(self, "steps", "batch", "accumulate", "evaluate_every", "patience", least=1)
        require_range(self, "learning_rate", "clip", above=0)
        require_range(self, "weight_decay", least=0)
        require_range(self, "warmup", "patient_from", least=0, below=1)
        if self.batch % self.accumulate:
            raise BadSetting(f"a batch of {self.batch} cannot be cut into {self.accumulate} pieces")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a training is when it asks for losses."""

    step: int
    """From 0."""
    steps: int
    epoch: int
    """Passes over the examples that are complete."""
    examples: tuple[int, ...]
    """All examples of the step, those of other pieces too."""

    @property
    def share(self) -> float:
        """Share of the steps that are done.

        >>> Place(3, 12, 0, (1,)).share
        0.25
        """
        return self.step / self.steps


class Task(Protocol):
    """What is learned."""

    @property
    def module(self) -> nn.Module:
        """Holds every weight that is learned; what asks for no gradient stays as it is."""

    @property
    def examples(self) -> int:
        """How many there are to learn from."""

    @property
    def measure(self) -> str:
        """What `validate` returns, in a few words."""

    def losses(self, examples: Sequence[int], place: Place) -> Mapping[str, Tensor]:
        """Return the parts of these examples' share of the step's loss, each weighted.

        Shares of all pieces of a step add up to its loss: a mean is divided by what the whole
        step has (`place.examples`), not the piece.
        """

    def validate(self) -> float:
        """Return what is selected by; more is better."""

    def fingerprint(self) -> str:
        """Return a hash of all that decides the result and is not in `LoopConfig`."""

    def follow(self) -> None:
        """Look at the gradients of a step, before they are used."""


@dataclass(frozen=True, slots=True)
class Fitted(Event):
    """The result: the weights of the best validation."""

    best: Mapping[str, Tensor]
    """Name -> every weight that was learned."""
    history: tuple[tuple[int, float, float], ...]
    """(step, validation, mean loss since the one before)."""
    steps: int
    best_step: int
    score: float
    """Of the best validation."""
    seconds: float
    """Over all sittings."""
    seconds_to_best: float
    peak_bytes: int | None


def fit(
    task: Task,
    config: LoopConfig,
    *,
    checkpoint: Path | None = None,
    tensorboard: Path | None = None,
    stage: str = STAGE,
) -> Iterator[Event]:
    """Train a task; the last event is `Fitted`.

    The weights of the task's module are those of the last step when it ends; `load_best` puts
    the best ones in.

    Args:
        task: what is learned.
        config: how.
        checkpoint: directory to keep the standing in: at every validation, from time to time,
            and when the generator is closed.
        tensorboard: directory to write losses and validations to.
        stage: what events call it.

    Raises:
        BadSetting: nothing is to be learned, a checkpoint is of another run, or it diverged.
    """
    forget_peak()
    run = _Run(task, config, checkpoint)
    if run.resume():
        yield Notice(f"going on from step {run.now.step} of {config.steps}")
    yield StageStarted(stage, config.steps, "steps")
    with open_board(tensorboard, begun=run.now.step) as board:
        try:
            while True:
                if run.owes_validation():
                    evaluated = run.validate()
                    board.hear(evaluated)
                    run.save()
                    yield evaluated
                if run.is_done():
                    break
                done = run.step()
                board.hear(done)
                yield done
                yield Progress(stage, run.now.step, config.steps, f"loss {done.loss:.3f}")
                run.save(after=config.checkpoint_seconds)
        except GeneratorExit:
            # Closed between steps: everything fits together. Another exception may have come
            # in the middle of one, and must not replace a checkpoint.
            run.save()
            raise
    yield StageDone(stage, run.now.seconds, f"{run.now.step} steps, best {run.now.best_step}")
    yield run.result()


def load_best(module: nn.Module, fitted: Fitted) -> None:
    """Put the weights of the best validation into a module."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name in fitted.best:
                weight.copy_(fitted.best[name])


class _Run:
    """Where a run stands, and what a step does."""

    def __init__(self, task: Task, config: LoopConfig, checkpoint: Path | None) -> None:
        self.task, self.config, self.checkpoint = task, config, checkpoint
        learned = _Learned(task.module)
        if not learned.weights:
            raise BadSetting("nothing of the model is to be learned")
        self.learned = learned
        self.optimiser = _optimiser(learned, config)
        self.now = checkpoints.Standing(best=-math.inf)
        self.history: list[tuple[int, float, float]] = []
        self.best = learned.copied()
        self.fingerprint = checkpoints.fingerprint(config, task.fingerprint())
        self._saved = self._noted = time.perf_counter()

    def step(self) -> StepDone:
        """Do one step; return the parts of its loss."""
        config, now = self.config, self.now
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * rate_share(now.step, config.steps, config.warmup)
        self.optimiser.zero_grad(set_to_none=True)
        place = self._place()
        size = config.batch // config.accumulate
        parts: dict[str, float] = {}
        with torch.random.fork_rng(devices=[]):
            # Dropout inside foreign models draws from torch's own chance.
            torch.manual_seed(derived_seed(config.seed, "dropout", now.step))
            for at in range(0, len(place.examples), size):
                with self._computing():
                    made = self.task.losses(place.examples[at : at + size], place)
                loss = torch.stack([part.float() for part in made.values()]).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                for name, part in made.items():
                    parts[name] = parts.get(name, 0.0) + float(part.detach())
        self.task.follow()
        nn.utils.clip_grad_norm_(list(self.learned.weights.values()), config.clip)
        self.optimiser.step()
        now.step += 1
        total = sum(parts.values())
        now.loss += total
        if not math.isfinite(total):
            raise self._diverged(f"its loss is {total}")
        return StepDone(now.step, total, parts)

    def owes_validation(self) -> bool:
        """Whether the step done last is one to be followed by a validation that was not yet."""
        step, every = self.now.step, self.config.evaluate_every
        due = step > 0 and (step % every == 0 or step >= self.config.steps)
        return due and (not self.history or self.history[-1][0] < step)

    def validate(self) -> Evaluated:
        """Validate; keep the weights if they are the best yet."""
        now = self.now
        self.task.module.eval()
        with torch.no_grad(), self._computing():
            score = self.task.validate()
        self.task.module.train()
        if not math.isfinite(score):  # the last step was too large: no loss has seen it yet
            raise self._diverged(f"its validation is {score}")
        before = self.history[-1][0] if self.history else 0
        loss, now.loss = now.loss / max(1, now.step - before), 0.0
        now.epochs += 1
        if score > now.best or not self.history:
            now.best, now.best_epoch, now.best_step = score, now.epochs, now.step
            now.best_seconds = now.seconds + time.perf_counter() - self._noted
            self.best = self.learned.copied()
        self.history.append((now.step, score, loss))
        return Evaluated(now.epochs, score, now.best, loss, self.task.measure)

    def is_done(self) -> bool:
        """Whether all steps are done, or too many validations brought nothing better."""
        config, now = self.config, self.now
        begun = max(now.best_step, config.patient_from * config.steps)
        waited = sum(step > begun for step, _, _ in self.history)
        return now.step >= config.steps or waited >= config.patience

    def save(self, *, after: float = 0.0) -> None:
        """Write a checkpoint, if there is a place for one and the last is `after` s old."""
        begun, self._noted = self._noted, time.perf_counter()
        self.now.seconds += self._noted - begun
        self.now.peak = max(self.now.peak, peak_bytes() or 0)
        if self.checkpoint is None or self._noted - self._saved < after:
            return
        self._saved = self._noted
        rows = [list(map(float, row)) for row in self.history]
        modules = {"learned": self.learned}
        checkpoints.save(
            self.checkpoint, self.fingerprint, self.now, rows, modules, self.optimiser, self.best
        )

    def resume(self) -> bool:
        """Go back to where the checkpoint stands; False where there is none."""
        if self.checkpoint is None:
            return False
        modules = {"learned": self.learned}
        found = checkpoints.load(self.checkpoint, self.fingerprint, modules, self.optimiser)
        if found is None:
            return False
        self.now, rows, self.best = found
        self.history = [(int(step), score, loss) for step, score, loss in rows]
        return True

    def result(self) -> Fitted:
        """Return the best weights, and how they came about."""
        now = self.now
        return Fitted(
            best=self.best,
            history=tuple(self.history),
            steps=now.step,
            best_step=now.best_step,
            score=now.best,
            seconds=now.seconds,
            seconds_to_best=now.best_seconds,
            peak_bytes=max(now.peak, peak_bytes() or 0) or None,
        )

    def _diverged(self, how: str) -> BadSetting:
        return BadSetting(
            f"the training diverged at step {self.now.step}: {how}; "
            f"try a learning rate below {self.config.learning_rate}"
        )

    def _place(self) -> Place:
        """Return which examples this step has: pass after pass, each in an order of its own."""
        batch, examples = self.config.batch, self.task.examples
        first = self.now.step * batch
        chosen = []
        for number in range(first, first + batch):
            epoch, place = divmod(number, examples)
            chosen.append(int(_order(examples, self.config.seed, epoch)[place]))
        return Place(self.now.step, self.config.steps, first // examples, tuple(chosen))

    def _computing(self) -> AbstractContextManager[object]:
        if self.config.precision == "float32":
            return nullcontext()
        device = next(iter(self.learned.weights.values())).device.type
        return torch.autocast(device, dtype=torch.bfloat16)


class _Learned:
    """The weights of a module that ask for a gradient: what checkpoints keep of it."""

    def __init__(self, module: nn.Module) -> None:
        self.weights = {n: w for n, w in module.named_parameters() if w.requires_grad}
        self.followed = {n: b for n, b in module.named_buffers() if n.split(".")[-1] in FOLLOWED}

    def state_dict(self) -> dict[str, Tensor]:
        return {name: w.detach() for name, w in {**self.weights, **self.followed}.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in {**self.weights, **self.followed}.items():
                weight.copy_(state[name])

    def copied(self) -> dict[str, Tensor]:
        return {name: w.detach().clone() for name, w in self.weights.items()}


FOLLOWED = ("average", "steps")
"""Buffers that change on the way: those of layer weights that move (`distill.matching`)."""


def _optimiser(learned: _Learned, config: LoopConfig) -> torch.optim.AdamW:
    matrices = [w for w in learned.weights.values() if w.ndim >= 2]
    others = [w for w in learned.weights.values() if w.ndim < 2]
    groups = [
        {"params": some, "weight_decay": decay}
        for some, decay in ((matrices, config.weight_decay), (others, 0.0))
        if some
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def _order(examples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(derived_seed(seed, "requests", epoch)).permutation(examples)


__all__ = ["STAGE", "Fitted", "LoopConfig", "Place", "Task", "fit", "load_best"]
