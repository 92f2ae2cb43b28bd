"""A student under training: the network, its optimiser, its batches and where it stands.

Apart from the loop so that the loop reads as what happens, and this as what it happens to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill import checkpoint as checkpoints
from distill import losses
from distill.batches import IGNORED, Batch, RequestBatch, RequestBatches, SequenceBatches
from distill.chance import Stream, derived_seed
from distill.data import Distillation, TrainData
from distill.matching import LayerLessons, MovingScale
from distill.memory import peak_bytes
from distill.objectives import TaskLoss
from distill.ranked.embedding import plain_weights, project
from distill.ranked.ranking import step_loss
from distill.schedule import Plan, layer_share
from distill.training import Evaluated, TrainConfig, Trained
from recommender.metrics import ndcg
from recommender.ranking import target_ranks
from recommender.sequential.networks import make_network
from recommender.sequential.shape import pad
from storage.errors import BadSetting
from storage.records import IntArray

_VALIDATION_BYTES = 256_000_000
"""Memory of the scores of one chunk of validation requests."""
_VALIDATION_ROWS = 1024
"""Most requests of a chunk: where the catalogue is small, it is attention that takes memory."""


class Student:
    """A network under training with what belongs to it; `train` says what happens when."""

    def __init__(
        self,
        config: TrainConfig,
        data: TrainData,
        distillation: Distillation | None,
        *,
        device: str,
        checkpoint: Path | None,
    ) -> None:
        """Build everything as it is before the first step."""
        if config.start == "text" and data.text is None:
            raise BadSetting("the item table should start from text, but there are no text vectors")
        self.config, self.data, self.distillation = config, data, distillation
        self.device = torch.device(device)
        self.noise = torch.Generator(self.device)
        projected = None if distillation is None else distillation.ranked.items
        text = data.text if config.start == "text" and projected is None else None
        self.network = make_network(data.items, config.network, seed=config.seed, text=text)
        self.network.to(self.device)
        if projected is not None:
            project(self.network, projected, std=config.network.text_std)
        self.lessons = _lessons(config, distillation).to(self.device)
        given = () if distillation is None else distillation.layer_weights
        self.scale = MovingScale(
            None if distillation is None else distillation.moving,
            (*given, *[0.0] * (config.network.blocks - len(given))),
            config.seed,
        )
        self.optimiser = _optimiser(self.network, self.lessons, config)
        self.history: list[Evaluated] = []
        self.best = plain_weights(self.network)
        length, seed = config.network.max_len, config.seed
        self.sequences = SequenceBatches(
            data, size=config.batch, max_len=length, seed=seed, repeats=config.repeats
        )
        self.requests: RequestBatches | None = None
        if distillation is not None:
            self.requests = RequestBatches(
                distillation, size=config.request_batch, max_len=length, seed=seed
            )
        self.plan = Plan.of(config, self.sequences.steps_a_pass)
        self.task = TaskLoss(
            config, data.popularity(), positions=config.batch * self.sequences.longest
        )
        self.standing = checkpoints.Standing()
        self._checkpoint = checkpoint
        self._saved = self._noted = time.perf_counter()

    def losses(self) -> dict[str, Tensor]:
        """Return the parts of this step's loss, each times its share; their sum is L."""
        taught = self.distillation
        share = self.standing.step / self.plan.steps
        heard = taught is None or share >= taught.begins
        parts = self._sequence_losses(self.sequences.at(self.standing.step), share, heard=heard)
        if taught is None:
            return parts
        if self.requests is not None:
            batch = self.requests.at(self.standing.step)
            parts |= self._teacher_losses(taught, batch, share, heard=heard)
        if taught.l2:
            squares = [weight.square().sum() for weight in self.network.parameters()]
            parts["l2"] = taught.l2 * torch.stack(squares).sum()
        return parts

    def follow(self) -> None:
        """Let moving layer weights see this step's gradients: between backward and update."""
        self.scale.follow(list(self.network.blocks))

    def advance(self, loss: float) -> None:
        """Count a step as done.

        Raises:
            BadSetting: the loss is not a number any more.
        """
        self.standing.step += 1
        self.standing.loss += loss
        if not math.isfinite(loss):
            raise self._diverged(f"its loss is {loss}")

    def _diverged(self, how: str) -> BadSetting:
        return BadSetting(
            f"the training diverged at step {self.standing.step}: {how}; "
            f"try a learning rate below {self.config.learning_rate}"
        )

    def end_epoch(self) -> Evaluated:
        """Judge the epoch that is complete, and keep its weights if they are the best yet."""
        now = self.standing
        now.epochs += 1
        validated = len(self.data.valid_histories) > 0
        score = self.validate() if validated else math.nan
        if not validated or score > now.best:
            now.best, now.best_epoch = score, now.epochs
            now.best_step, now.best_seconds = now.step, self._seconds()
            self.best = plain_weights(self.network)
        loss = now.loss / self.plan.epoch_steps
        self.history.append(Evaluated(now.epochs, score, now.best, loss))
        now.loss = 0.0
        return self.history[-1]

    def is_done(self) -> bool:
        """Whether the last step is done, or too many epochs brought nothing better."""
        now = self.standing
        waited = now.epochs - now.best_epoch if self.data.valid_histories else 0
        return now.step >= self.plan.last_step or waited >= self.config.patience

    def validate(self) -> float:
        """Return NDCG@10 on the validation requests: full catalogue, histories masked."""
        targets = self.data.valid_targets
        assert targets is not None
        chunk = min(_VALIDATION_ROWS, max(1, _VALIDATION_BYTES // (4 * self.data.items)))
        gains = []
        self.network.eval()
        for start in range(0, len(targets), chunk):
            histories = self.data.valid_histories[start : start + chunk]
            ids = torch.from_numpy(pad(histories, self.config.network.max_len)).to(self.device)
            with torch.no_grad():
                scores = self.network.scores(self.network.latest(ids)[1]).cpu().numpy()
            if not np.isfinite(scores).all():  # the last step was too large: no loss has seen it
                raise self._diverged("its validation is not a number")
            ranks = target_ranks(scores, targets[start : start + chunk], histories)
            gains.append(ndcg(ranks, 10))
        self.network.train()
        return float(np.concatenate(gains).mean())

    def _seconds(self) -> float:
        """Return what was spent so far, this sitting up to now included."""
        return self.standing.seconds + time.perf_counter() - self._noted

    def save(self, *, after: float = 0.0) -> None:
        """Write a checkpoint, if there is a place for one and the last is `after` s old."""
        begun, self._noted = self._noted, time.perf_counter()
        self.standing.seconds += self._noted - begun
        self.standing.peak = max(self.standing.peak, peak_bytes() or 0)
        if self._checkpoint is None or self._noted - self._saved < after:
            return
        self._saved = self._noted
        checkpoints.save(
            self._checkpoint,
            self.fingerprint,
            self.standing,
            [[e.epoch, e.score, e.best, e.loss] for e in self.history],
            self._modules,
            self.optimiser,
            self.best,
        )

    def resume(self) -> bool:
        """Go back to where the checkpoint stands; False where there is none."""
        if self._checkpoint is None:
            return False
        found = checkpoints.load(
            self._checkpoint,
            self.fingerprint,
            self._modules,
            self.optimiser,
        )
        if found is None:
            return False
        self.standing, history, self.best = found
        self.history = [
            Evaluated(int(epoch), score, best, loss) for epoch, score, best, loss in history
        ]
        return True

    def result(self) -> Trained:
        """Return the weights that were best, as arrays."""
        return Trained(
            weights={name: tensor.cpu().numpy() for name, tensor in self.best.items()},
            history=tuple(self.history),
            best_epoch=self.standing.best_epoch,
            best=self.standing.best,
            steps=self.standing.step,
            seconds=self.standing.seconds,
            objective=self.task.denominator,
            steps_to_best=self.standing.best_step,
            seconds_to_best=self.standing.best_seconds,
            peak_bytes=max(self.standing.peak, peak_bytes() or 0) or None,
        )

    def _sequence_losses(self, batch: Batch, share: float, *, heard: bool) -> dict[str, Tensor]:
        """Return the loss of what came next, at every position that counts, times its share.

        With it the losses of blocks that have to predict for themselves, where a method asks.
        """
        supervised = self.lessons.supervised(share)
        if not heard and not supervised:
            return {}
        counted = torch.from_numpy(batch.targets.ravel() != IGNORED).to(self.device)
        targets = torch.from_numpy(batch.targets.ravel()).to(self.device)[counted]
        ids = torch.from_numpy(batch.ids).to(self.device)
        blocks, final = self.network(ids, self._chance("dropout"))
        parts = {}
        if heard:
            task = 1.0 if self.distillation is None else self.distillation.task
            parts["task"] = task * self._task_loss(final.flatten(0, 1)[counted], targets)
        for block, weight in supervised:
            states = self.network.norm_final(blocks[block - 1]).flatten(0, 1)[counted]
            loss = self._task_loss(states, targets)
            layers = len(blocks)
            part = self._supervision_share() * weight / layers * loss
            parts["supervision"] = parts["supervision"] + part if "supervision" in parts else part
        return parts

    @property
    def _modules(self) -> dict[str, nn.Module]:
        """What a checkpoint keeps beside the optimiser."""
        return {"network": self.network, "lessons": self.lessons, "moving": self.scale}

    def _task_loss(self, states: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of states (N, width) that should predict items (N,)."""
        return self.task.loss(states, targets, self.network.table, self._seed("sample"))

    def _teacher_losses(
        self, taught: Distillation, batch: RequestBatch, share: float, *, heard: bool
    ) -> dict[str, Tensor]:
        """The losses of labels, of rankings and of layers, times shares."""
        said = heard and (taught.output > 0 or taught.ranked.lists is not None)
        if not said and (batch.states is None or not taught.matches):
            return {}
        ids = torch.from_numpy(batch.ids).to(self.device)
        states, latest = self.network.latest(ids, self._chance("label dropout"))
        parts = {}
        if said:
            candidates = torch.from_numpy(batch.candidates).to(self.device)
            offered = F.embedding(candidates, self.network.table)
            scores = (offered * latest.unsqueeze(1)).sum(2)
            if taught.output:
                parts["output"] = taught.output * self._divergence(taught, batch, scores)
            if taught.ranked.lists is not None:
                parts["ranked"] = step_loss(taught.ranked.lists, batch.rows, scores)
        if batch.states is not None and taught.matches:
            teacher = torch.from_numpy(batch.states).to(self.device)
            layers = self.lessons.loss(states, teacher, share, self.scale.factors())
            if taught.balance and "output" in parts:
                # Minitron: α = L_logit / L_is, so that both weigh the same.
                layers = layers * (parts["output"] / layers.clamp_min(1e-12)).detach()
            parts["layers"] = self._layers_share() * layers
        return parts

    def _divergence(self, taught: Distillation, batch: RequestBatch, scores: Tensor) -> Tensor:
        labels = torch.from_numpy(batch.labels).to(self.device)
        if taught.divergence == "bernoulli":
            return losses.bernoulli_kl(scores, labels, taught.temperature)
        return losses.soft_label_kl(scores, labels, taught.temperature)

    def _layers_share(self) -> float:
        taught = self.distillation
        assert taught is not None
        return taught.layers * self._fading(taught)

    def _supervision_share(self) -> float:
        taught = self.distillation
        assert taught is not None
        return taught.supervision * self._fading(taught)

    def _fading(self, taught: Distillation) -> float:
        return layer_share(self.standing.step, self.plan.steps, taught.fade)

    def _seed(self, stream: Stream) -> int:
        return derived_seed(self.config.seed, stream, self.standing.step)

    def _chance(self, stream: Stream) -> torch.Generator:
        return self.noise.manual_seed(self._seed(stream))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that decides the result: a checkpoint is only for an equal one."""
        data, taught = self.data, self.distillation
        parts: list[object] = [self.config, data.sequences, data.offsets, data.text]
        parts += [data.valid_targets, *_flat(data.valid_histories)]
        if taught is not None:
            parts += [*taught.settings, taught.candidates, taught.labels, taught.states]
            parts += taught.ranked.arrays
            parts += _flat(taught.histories)
            if taught.moving is not None:
                parts += [*taught.moving.settings]
                parts += [taught.moving.squares]
        return checkpoints.fingerprint(*parts)


def _lessons(config: TrainConfig, taught: Distillation | None) -> LayerLessons:
    """Return what is learned beside the student; nothing without a teacher's states."""
    if taught is None:
        nothing = np.zeros((1, 1), dtype=np.int64)
        taught = Distillation([nothing[0]], nothing, np.ones((1, 1), dtype=np.float32))
    shape = config.network
    return LayerLessons(
        taught, blocks=shape.blocks, width=shape.width, seed=config.seed, init_std=shape.init_std
    )


def _optimiser(network: nn.Module, lessons: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW that shrinks matrices only.

    Norms, biases and positions are no matrices; a decayed item table would forget the text
    of items that few people chose.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in [*network.named_parameters(), *lessons.named_parameters()]:
        shrinks = weight.ndim == 2 and not {"table", "positions"} & {*name.split(".")}
        (matrices if shrinks else others).append(weight)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _flat(histories: Sequence[IntArray]) -> list[IntArray]:
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    return [lengths, np.concatenate([np.empty(0, np.int64), *histories])]
