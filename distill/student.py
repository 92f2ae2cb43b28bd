"""A student under training: the network, its optimiser, its batches and where it stands.

Apart from the loop so that the loop reads as what happens, and this as what it happens to.
"""

from __future__ import annotations

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
    RequestBatches,
    SequenceBatches,
    Stream,
    TrainData,
    derived_seed,
)
from distill.sampling import NegativeSampler
from distill.training import Evaluated, Objective, TrainConfig, Trained
from recommender.metrics import ndcg
from recommender.ranking import target_ranks
from recommender.sequential.sasrec import SASRec
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
        self, config: TrainConfig, data: TrainData, distillation: Distillation | None, device: str
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
        self.standing = checkpoints.Standing()
        self.history: list[list[float]] = []
        self.best = _copy(self.network)
        shape = {"max_len": config.network.max_len, "seed": config.seed}
        self.sequences = SequenceBatches(data, size=config.batch, repeats=config.repeats, **shape)
        self.requests = None
        if distillation is not None:
            self.requests = RequestBatches(distillation, size=config.request_batch, **shape)
        self.sampler = NegativeSampler(data.popularity(), config.negative_law)
        self.score_bytes = _score_bytes(config.batch * self.sequences.longest, data.items)
        self.objective: Objective = "full" if self.score_bytes <= config.score_bytes else "sampled"

    @property
    def why_sampled(self) -> str:
        """One sentence for people."""
        return (
            f"scores of all {self.data.items:,} items would take "
            f"{self.score_bytes / 1e9:.1f} GB a step, above "
            f"{self.config.score_bytes / 1e9:.1f} GB: "
            f"cross-entropy against {self.config.negatives:,} sampled items instead"
        )

    def task_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of what came next, at every position that counts, times its share."""
        counted = torch.from_numpy(batch.targets.ravel() != IGNORED).to(self.device)
        targets = torch.from_numpy(batch.targets.ravel()).to(self.device)[counted]
        ids = torch.from_numpy(batch.ids).to(self.device)
        states = self.network(ids, self._chance("dropout"))[1]
        states = states.flatten(0, 1)[counted]
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

    def teacher_losses(self, layer_share: float) -> dict[str, Tensor]:
        """The divergence from the teacher's labels and the layer distance, times shares."""
        assert self.distillation is not None
        assert self.requests is not None
        ids, candidates, labels, states = (
            None if array is None else torch.from_numpy(array).to(self.device)
            for array in self.requests.at(self.standing.step)
        )
        blocks, final = self.network(ids, self._chance("label dropout"))
        scores = (F.embedding(candidates, self.network.table) * final[:, -1:]).sum(2)
        temperature = self.distillation.temperature
        parts = {
            "output": self.distillation.output * losses.soft_label_kl(scores, labels, temperature)
        }
        if states is not None and self.distillation.layers:
            weights = self.distillation.layer_weights
            distances = torch.stack(
                [
                    weight * losses.layer_distance(project(block[:, -1]), states[:, m])
                    for m, (weight, project, block) in enumerate(
                        zip(weights.tolist(), self.projections, blocks, strict=True)
                    )
                ]
            )
            parts["layers"] = self.distillation.layers * layer_share * distances.mean()
        return parts

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

    def keep_best(self, score: float, epoch: int) -> None:
        """Keep the present weights as the best so far."""
        self.standing.best, self.standing.best_epoch = score, epoch
        self.best = _copy(self.network)

    def save(self, directory: Path) -> None:
        """Write a checkpoint."""
        history = [[e.epoch, e.ndcg, e.best, e.loss] for e in self.history]
        checkpoints.save(
            directory,
            self.fingerprint,
            self.standing,
            history,
            {"network": self.network, "projections": self.projections},
            self.optimiser,
            self.best,
        )

    def resume(self, directory: Path) -> bool:
        """Go back to where a checkpoint stands; False where there is none."""
        found = checkpoints.load(
            directory,
            self.fingerprint,
            {"network": self.network, "projections": self.projections},
            self.optimiser,
        )
        if found is None:
            return False
        standing, history, self.best = found
        for name in checkpoints.Standing.__slots__:  # in place: the loop holds this object
            setattr(self.standing, name, getattr(standing, name))
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
        linear = nn.utils.skip_init(nn.Linear, config.network.width, taught.states.shape[2])
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
    matrices, others = [], []
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


def _score_bytes(positions: int, items: int) -> int:
    return positions * items * _BYTES_A_SCORE
