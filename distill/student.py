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
from distill.data import (
    IGNORED,
    Batch,
    Distillation,
    RequestBatch,
    RequestBatches,
    SequenceBatches,
    Stream,
    TrainData,
    derived_seed,
)
from distill.sampling import NegativeSampler
from distill.schedule import Plan, layer_share
from distill.training import Evaluated, Objective, TrainConfig, Trained
from recommender.metrics import ndcg
from recommender.ranking import target_ranks
from recommender.sequential.sasrec import SASRec, bare_linear
from recommender.sequential.shape import pad
from storage.errors import BadSetting
from storage.records import IntArray

_VALIDATION_BYTES = 256_000_000
"""Memory of the scores of one chunk of validation requests."""
_BYTES_A_SCORE = 12
"""float32 scores, their softmax, and its gradient."""


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
        text = data.text if config.start == "text" else None
        self.network = SASRec(data.items, config.network, seed=config.seed, text=text)
        self.network.to(self.device)
        self.projections = _projections(config, distillation).to(self.device)
        self.optimiser = _optimiser(self.network, self.projections, config)
        self.history: list[Evaluated] = []
        self.best = _copy(self.network)
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
        self.sampler = NegativeSampler(data.popularity(), config.negative_law)
        self.score_bytes = config.batch * self.sequences.longest * data.items * _BYTES_A_SCORE
        self.objective: Objective = "full" if self.score_bytes <= config.score_bytes else "sampled"
        self.standing = checkpoints.Standing()
        self._checkpoint = checkpoint
        self._saved = self._noted = time.perf_counter()

    @property
    def why_sampled(self) -> str:
        """One sentence for people."""
        return (
            f"scores of all {self.data.items:,} items would take "
            f"{self.score_bytes / 1e9:.1f} GB a step, above "
            f"{self.config.score_bytes / 1e9:.1f} GB: "
            f"cross-entropy against {self.config.negatives:,} sampled items instead"
        )

    def losses(self) -> dict[str, Tensor]:
        """Return the parts of this step's loss, each times its share; their sum is L."""
        parts = {"task": self._task_loss(self.sequences.at(self.standing.step))}
        if self.distillation is not None and self.requests is not None:
            batch = self.requests.at(self.standing.step)
            parts |= self._teacher_losses(self.distillation, batch)
        return parts

    def advance(self, loss: float) -> None:
        """Count a step as done.

        Raises:
            BadSetting: the loss is not a number any more.
        """
        self.standing.step += 1
        self.standing.loss += loss
        if not math.isfinite(loss):
            raise BadSetting(
                f"the training diverged at step {self.standing.step}: its loss is {loss}; "
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
            self.best = _copy(self.network)
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
        chunk = max(1, _VALIDATION_BYTES // (4 * self.data.items))
        gains = []
        self.network.eval()
        for start in range(0, len(targets), chunk):
            histories = self.data.valid_histories[start : start + chunk]
            ids = torch.from_numpy(pad(histories, self.config.network.max_len)).to(self.device)
            with torch.no_grad():
                scores = self.network.scores(self.network(ids)[1][:, -1]).cpu().numpy()
            ranks = target_ranks(scores, targets[start : start + chunk], histories)
            gains.append(ndcg(ranks, 10))
        self.network.train()
        return float(np.concatenate(gains).mean())

    def save(self, *, after: float = 0.0) -> None:
        """Write a checkpoint, if there is a place for one and the last is `after` s old."""
        begun, self._noted = self._noted, time.perf_counter()
        self.standing.seconds += self._noted - begun
        if self._checkpoint is None or self._noted - self._saved < after:
            return
        self._saved = self._noted
        checkpoints.save(
            self._checkpoint,
            self.fingerprint,
            self.standing,
            [[e.epoch, e.ndcg, e.best, e.loss] for e in self.history],
            {"network": self.network, "projections": self.projections},
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
            {"network": self.network, "projections": self.projections},
            self.optimiser,
        )
        if found is None:
            return False
        self.standing, history, self.best = found
        self.history = [Evaluated(int(epoch), *rest) for epoch, *rest in history]
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
            objective=self.objective,
        )

    def _task_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of what came next, at every position that counts, times its share."""
        counted = torch.from_numpy(batch.targets.ravel() != IGNORED).to(self.device)
        targets = torch.from_numpy(batch.targets.ravel()).to(self.device)[counted]
        ids = torch.from_numpy(batch.ids).to(self.device)
        states = self.network(ids, self._chance("dropout"))[1].flatten(0, 1)[counted]
        share = 1.0 if self.distillation is None else self.distillation.task
        if self.objective == "full":
            return share * losses.ce_full(self.network.scores(states), targets)
        sample = self.sampler.draw(self.config.negatives, self._seed("sample"))
        expected = self.sampler.log_probability(sample) + np.log(np.float32(len(sample)))
        drawn = torch.from_numpy(sample).to(self.device)
        return share * losses.ce_sampled(
            (states * F.embedding(targets, self.network.table)).sum(1),
            states @ F.embedding(drawn, self.network.table).T,
            targets,
            drawn,
            torch.from_numpy(expected).to(self.device),
        )

    def _teacher_losses(self, taught: Distillation, batch: RequestBatch) -> dict[str, Tensor]:
        """The divergence from the teacher's labels and the layer distance, times shares."""
        ids = torch.from_numpy(batch.ids).to(self.device)
        candidates = torch.from_numpy(batch.candidates).to(self.device)
        labels = torch.from_numpy(batch.labels).to(self.device)
        blocks, final = self.network(ids, self._chance("label dropout"))
        scores = (F.embedding(candidates, self.network.table) * final[:, -1:]).sum(2)
        divergence = losses.soft_label_kl(scores, labels, taught.temperature)
        parts = {"output": taught.output * divergence}
        if batch.states is not None and taught.layer_weights is not None:
            states = torch.from_numpy(batch.states).to(self.device)
            distances = [
                float(weight) * losses.layer_distance(project(block[:, -1]), states[:, m])
                for m, (weight, project, block) in enumerate(
                    zip(taught.layer_weights, self.projections, blocks, strict=True)
                )
            ]
            share = taught.layers * layer_share(self.standing.step, self.plan.steps)
            parts["layers"] = share * torch.stack(distances).mean()
        return parts

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
            parts += [taught.task, taught.output, taught.layers, taught.temperature]
            parts += [taught.candidates, taught.labels, taught.states, taught.layer_weights]
            parts += _flat(taught.histories)
        return checkpoints.fingerprint(*parts)


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _projections(config: TrainConfig, taught: Distillation | None) -> nn.ModuleList:
    """P_1 … P_M, from the student's width to the teacher's; thrown away after training."""
    if taught is None or taught.states is None:
        return nn.ModuleList()
    if taught.states.shape[1] != config.network.blocks:
        raise BadSetting(
            f"teacher states at {taught.states.shape[1]!r} layers for a student of "
            f"{config.network.blocks!r} blocks"
        )
    chance = torch.Generator().manual_seed(derived_seed(config.seed, "projections", 0))
    projections = nn.ModuleList()
    for _ in range(config.network.blocks):
        linear = bare_linear(config.network.width, taught.states.shape[2])
        nn.init.normal_(linear.weight, std=config.network.init_std, generator=chance)
        nn.init.zeros_(linear.bias)
        projections.append(linear)
    return projections


def _optimiser(
    network: nn.Module, projections: nn.Module, config: TrainConfig
) -> torch.optim.AdamW:
    """AdamW that shrinks matrices only.

    Norms, biases and positions are no matrices; a decayed item table would forget the text
    of items that few people chose.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in [*network.named_parameters(), *projections.named_parameters()]:
        shrinks = weight.ndim == 2 and name not in ("table", "positions")
        (matrices if shrinks else others).append(weight)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _flat(histories: Sequence[IntArray]) -> list[IntArray]:
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    return [lengths, np.concatenate([np.empty(0, np.int64), *histories])]
