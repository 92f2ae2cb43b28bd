"""What a Llama computes on its way, kept for comparison: states, queries, keys, values.

Only what is asked for is kept. The student's keep their graph, the teacher's have none. The
model computes what it always computes: nothing here changes an output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from distill.matches import Match

ATTENDING = ("attention", "attention-scores", "queries", "keys", "values")


@dataclass(frozen=True, slots=True)
class Attended:
    """Queries, keys and values of one layer, after rotation: (B, heads, T, width of a head)."""

    queries: Tensor
    keys: Tensor
    """Of as few heads as the layer has for them (GQA)."""
    values: Tensor
    scaling: float
    """What scores are multiplied by: 1 / √(width of a head)."""

    def scores(self) -> Tensor:
        """Return the attention scores before the softmax, (B, heads, T, T), nothing masked."""
        groups = self.queries.shape[1] // self.keys.shape[1]
        keys = self.keys.repeat_interleave(groups, dim=1)
        return self.queries @ keys.transpose(-1, -2) * self.scaling


@dataclass(slots=True)
class Captured:
    """What was kept of one pass."""

    hidden: dict[int, Tensor] = field(default_factory=dict)
    """Output l -> (B, T, width): 0 the embedding, l what comes out of the l-th layer."""
    attended: dict[int, Attended] = field(default_factory=dict)
    """Layer l, counted from 1."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which outputs, and which layers' attention, a list of matches looks at on one side."""

    hidden: tuple[int, ...] = ()
    attended: tuple[int, ...] = ()

    @classmethod
    def of_teacher(cls, matches: Sequence[Match]) -> Wanted:
        """Return what the matches need of the teacher.

        >>> Wanted.of_teacher([Match((1, 3), 1), Match(2, 1, "values", "relation-kl")])
        Wanted(hidden=(1, 3), attended=(2,))
        """
        return cls(
            _rising(
                one
                for match in matches
                if match.feature == "hidden"
                for one in match.teacher_layers
            ),
            _rising(
                one
                for match in matches
                if match.feature in ATTENDING
                for one in match.teacher_layers
            ),
        )

    @classmethod
    def of_student(cls, matches: Sequence[Match]) -> Wanted:
        """Return what the matches need of the student.

        >>> Wanted.of_student([Match(9, 2), Match(0, 1, "supervision", "task")])
        Wanted(hidden=(1, 2), attended=())
        """
        return cls(
            _rising(match.student for match in matches if match.feature not in ATTENDING),
            _rising(match.student for match in matches if match.feature in ATTENDING),
        )

    @property
    def anything(self) -> bool:
        """Whether there is something to keep."""
        return bool(self.hidden or self.attended)


class Capture:
    """While entered, keeps what is wanted of a model's passes, the last one's.

    Leave it before the backward pass: with gradient checkpointing that runs layers again. What
    is attended is there once it is left: made inside a layer, it would be part of what is run
    again, and the hooks are gone by then.
    """

    def __init__(self, model: Any, wanted: Wanted) -> None:
        """Ask for outputs and layers; they are looked for among those the model has.

        Raises:
            ValueError: there is no such layer.
        """
        self._layers = list(model.model.layers)
        self._wanted = wanted
        self._handles: list[Any] = []
        self._parts: dict[int, dict[str, Any]] = {}
        self.kept = Captured()
        last = len(self._layers)
        asked = (*wanted.hidden, *[max(one, 1) for one in wanted.attended])
        if any(not 0 <= one <= last for one in asked) or 0 in wanted.attended:
            raise ValueError(f"{wanted} is not within 0..{last}")

    def __enter__(self) -> Captured:
        """Put the hooks in; what is returned fills up, with states at once."""
        for output in self._wanted.hidden:
            block = self._layers[max(output - 1, 0)]
            register = block.register_forward_hook if output else block.register_forward_pre_hook
            self._handles.append(register(self._output(output) if output else self._embedding))
        for layer in self._wanted.attended:
            self._attend(layer, self._layers[layer - 1].self_attn)
        return self.kept

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the hooks out, and turn what the projections gave into heads."""
        for handle in self._handles:
            handle.remove()
        if error is None:
            for layer, parts in self._parts.items():
                self.kept.attended[layer] = _attended(self._layers[layer - 1].self_attn, parts)

    def _embedding(self, _block: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.kept.hidden[0] = args[0]

    def _output(self, output: int) -> Any:
        def hook(_block: nn.Module, _args: object, made: Tensor | tuple[Tensor, ...]) -> None:
            self.kept.hidden[output] = made if isinstance(made, Tensor) else made[0]

        return hook

    def _attend(self, layer: int, attention: Any) -> None:
        def begin(_part: nn.Module, _args: object, named: dict[str, Any]) -> None:
            self._parts[layer] = {"turns": named["position_embeddings"]}

        def keep(name: str) -> Any:
            def hook(_part: nn.Module, _args: object, made: Tensor) -> None:
                self._parts[layer][name] = made

            return hook

        self._handles.append(attention.register_forward_pre_hook(begin, with_kwargs=True))
        for name in ("q_proj", "k_proj", "v_proj"):
            self._handles.append(getattr(attention, name).register_forward_hook(keep(name)))


def _attended(attention: Any, parts: dict[str, Any]) -> Attended:
    """Split what the projections gave into heads, norm it where the model does, and turn it."""

    def heads(name: str) -> Tensor:
        made: Tensor = parts[name]
        return made.view(*made.shape[:2], -1, attention.head_dim)

    queries, keys = heads("q_proj"), heads("k_proj")
    if hasattr(attention, "q_norm"):
        queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    turn = sys.modules[type(attention).__module__].apply_rotary_pos_emb
    queries, keys = turn(queries.transpose(1, 2), keys.transpose(1, 2), *parts["turns"])
    return Attended(queries, keys, heads("v_proj").transpose(1, 2), float(attention.scaling))


def causal(real: Tensor) -> Tensor:
    """Say which token may look at which: (B, 1, T, T), from (B, T) of which are no padding.

    >>> causal(torch.tensor([[True, True, False]]))[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 0]]
    """
    length = real.shape[1]
    sight = torch.ones(length, length, dtype=torch.bool, device=real.device).tril()
    return sight & real[:, None, None, :]


def _rising(numbers: Any) -> tuple[int, ...]:
    return tuple(sorted(set(numbers)))
