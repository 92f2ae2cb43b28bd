"""What a distillation is asked to do: one frozen record, kept with every run. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from distill.language.settings import LanguageConfig
from distill.ranked.settings import RankedConfig
from distill.training import TrainConfig
from recommender.candidates import Mix
from recommender.config import TeacherMode
from recommender.letters import MOST
from recommender.scoring import WAYS
from storage.errors import BadSetting, nearest

SplitKind = Literal["temporal", "leave-last-out"]

ORDERS_ON_SERVERS = 4
"""Rotations that letters are asked in, where nothing else is said and a server answers."""


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Who is asked, what it is shown, and how often."""

    spec: str = "embedded"
    """Name, directory, GGUF file, hub id, or a model of the Ollama server."""
    others: tuple[str, ...] = ()
    """More teachers, asked the same; their labels are kept apart and fused."""
    mode: TeacherMode = "auto"
    """How it is asked; 'auto' by all it can do, and the best on validation is kept."""
    weights: str = ""
    """Where Fisher and hidden states come from; empty means the teacher's own weights, 'none'
    learns from labels alone."""
    orders: int = 0
    """Rotations that letters are asked in; 0 is 4 on a server, 1 in this process."""
    in_flight: int = 0
    """Questions under way at once on each server; 0 finds out how many pay."""
    item_fields: tuple[str, ...] = ()
    """What prompts show of an item beside its title."""
    device: str = "auto"
    precision: str = "auto"
    scoring: str = "auto"
    """One of `recommender.scoring.WAYS`, or 'auto': chosen on a slice of validation."""
    history_length: int = 10
    candidates: int = 10
    mix: Mix = "uniform"
    """Where negatives come from: 'uniform' over the catalogue, 'retrieved' from popularity,
    item-kNN and text neighbours, or half of each ('mixed'). Among retrieved ones a small
    teacher is hardly better than chance; see the README."""
    open_share: float = 0.5
    """Share of training requests at the end of a person's training history, where nobody
    knows what comes next: there the teacher is the only one who says anything."""
    choose_requests: int = 90
    gate_requests: int = 120
    fisher_requests: int = 32
    requests: int = 0
    """Training requests; 0 means as many as the minutes allow."""
    ignore_gate: bool = False


@dataclass(frozen=True, slots=True)
class LossConfig:
    """How much each loss counts (algorithms §1.3), and what decides the weights of layers.

    Which layers are matched is the method's (`distill.methods`).
    """

    task: float = 1.0
    output: float = 0.7
    layer: float = 1.0
    temperature: float = 1.0
    divergence: Literal["listwise", "bernoulli"] = "listwise"
    """Of what the teacher says: a distribution over the candidates, or, as published, one
    over two classes for each of them."""
    begins: float = 0.0
    """Share of the steps before which nothing but layers is learned."""
    layer_fade: float = 0.3
    """Share of the steps, at the end, over which the layer losses fall to 0."""
    balance: bool = False
    """Whether the layer losses are scaled, step by step, to what the output loss amounts to."""
    l2: float = 0.0
    """λ of a squared norm of all weights, beside the optimiser's own decay."""
    criterion: str = "fisher-empirical"
    """What layers are weighed by, where the method weighs by a measurement."""
    depth_beta: float = 0.0
    """β of the emphasis on depth, (1 + β l/L)^δ."""
    depth_delta: float = 1.0
    dynamic: Literal["none", "teacher", "student"] = "none"
    """Whether layer weights move: after the teacher's Fisher of minibatches (D1), or after
    the student's own gradients (D2)."""
    eta: float = 0.05
    """η of the moving average."""
    shuffle: int = 1
    """Which lot deals the weights of `fisher-shuffled`."""
    permute_labels: bool = False
    """The control: what the teacher said is dealt out to the wrong requests."""
    ranked: RankedConfig = field(default_factory=RankedConfig)
    """Distillation of rankings and of item vectors (DLLM2Rec)."""

    def __post_init__(self) -> None:
        """Check ranges before anything expensive."""
        shares = (self.task, self.output, self.layer, self.l2, self.depth_beta, self.depth_delta)
        if not all(0 <= one < math.inf for one in shares):
            raise BadSetting(f"no share of a loss can be below 0: {self!r}")
        if not (0 <= self.begins < 1 and 0 <= self.layer_fade <= 1 and 0 < self.eta <= 1):
            raise BadSetting(f"begins, layer_fade and eta are shares between 0 and 1: {self!r}")
        if not 0 < self.temperature < math.inf:
            raise BadSetting(f"temperature {self.temperature!r} is not above 0")


@dataclass(frozen=True, slots=True)
class DistilConfig:
    """Everything `recsys distill` decides.

    >>> DistilConfig("Electronics").teacher.history_length
    10
    """

    category: str
    method: str = "fisher-ld"
    """Name of the way to distil: `distill.methods.with_method` sets it with all it changes."""
    seed: int = 0
    minutes: float = 0.0
    """Time to fit the teacher's requests into; 0 means no limit (`requests` decides)."""
    split: SplitKind = "temporal"
    min_rating: float | None = None
    """Interactions rated lower, on the source's own scale, are no positives."""
    max_users: int = 0
    """Evaluate on this many people at most; 0 means all."""
    final: bool = False
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: TrainConfig = field(default_factory=TrainConfig)
    """Its seed is replaced by `seed`."""
    loss: LossConfig = field(default_factory=LossConfig)
    language: LanguageConfig | None = None
    """A student that reads text, in the place of a sequential one."""

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> DistilConfig:
        """Make a configuration of plain values, as `as_dict` returns them.

        Raises:
            BadSetting: a field there is not, with the nearest, or a value that does not fit.

        >>> DistilConfig.from_dict({"category": "Books", "teacher": {"requests": 8}}).seed
        0
        >>> DistilConfig.from_dict({"category": "Books", "lost": {}})
        Traceback (most recent call last):
        ...
        storage.errors.BadSetting: no field 'lost' in a distillation; did you mean 'loss'?
        """
        _refuse_unknown(cls, values, "")
        try:
            made: DistilConfig = TypeAdapter(cls).validate_python(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            given = "" if first["type"] == "missing" else f" = {first['input']!r}"
            reason = first["msg"][:1].lower() + first["msg"][1:]
            raise BadSetting(f"{place}{given}: {reason}") from error
        return made

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values, as they come back from where a run is stored.

        >>> DistilConfig("Books").as_dict()["category"]
        'Books'
        """
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    def with_teacher(self, **changes: Any) -> DistilConfig:
        """Return a copy whose teacher differs in the fields named.

        >>> DistilConfig("Books").with_teacher(requests=8).teacher.requests
        8
        """
        return replace(self, teacher=replace(self.teacher, **changes))

    def with_student(self, **changes: Any) -> DistilConfig:
        """Return a copy whose student differs in the fields named.

        >>> DistilConfig("Books").with_student(start="free").student.start
        'free'
        """
        return replace(self, student=replace(self.student, **changes))

    def with_loss(self, **changes: Any) -> DistilConfig:
        """Return a copy whose losses differ in the fields named.

        >>> DistilConfig("Books").with_loss(layer=0.0).loss.layer
        0.0
        """
        return replace(self, loss=replace(self.loss, **changes))

    def with_language(self, **changes: Any) -> DistilConfig:
        """Return a copy whose Llama student differs in the fields named; it has one from then on.

        >>> DistilConfig("Books").with_language(layers=6).language.layers
        6
        """
        return replace(self, language=replace(self.language or LanguageConfig(), **changes))


def _refuse_unknown(record: Any, values: Mapping[str, object], where: str) -> None:
    """Refuse a field that a record does not have, in it or in the records it holds."""
    types = get_type_hints(record)
    known = [one.name for one in fields(record)]
    for name, value in values.items():
        if name not in known:
            inside = _holders(types, name)
            near = f": it is {inside[0]}.{name}" if inside else nearest(name, known)
            raise BadSetting(f"no field {where + name!r} in a distillation{near}")
        if isinstance(value, bool) and bool not in _alternatives(types[name]):
            # Python counts yes as 1.
            raise BadSetting(f"{where}{name} = {value}: it is not a matter of yes or no")
        inner = next((one for one in _alternatives(types[name]) if is_dataclass(one)), None)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(inner, value, f"{where}{name}.")


def _holders(types: Mapping[str, Any], name: str) -> list[str]:
    """Return the fields whose own record has a field of this name."""
    return [
        field_name
        for field_name, kind in types.items()
        for one in _alternatives(kind)
        if is_dataclass(one) and name in {inner.name for inner in fields(one)}
    ]


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """Return what a field may be: 'A | None' may be A."""
    return get_args(kind) or (kind,)


def check(config: DistilConfig) -> None:
    """Refuse what cannot work, before anything expensive is begun.

    Raises:
        BadSetting: a figure out of its range, with the flag that mends it.

    >>> check(DistilConfig("Books"))
    """
    teacher = config.teacher
    if not 2 <= teacher.candidates <= 100:
        raise BadSetting(
            f"{teacher.candidates} candidates a request: between 2 and 100 can be asked"
        )
    if teacher.scoring not in ("auto", *WAYS):
        raise BadSetting(
            f"no way of scoring {teacher.scoring!r}: 'auto' or one of {', '.join(WAYS)}"
        )
    lettered = teacher.scoring.startswith("letters") or teacher.mode in ("letters", "ranking")
    if lettered and teacher.candidates > MOST:
        raise BadSetting(
            f"{teacher.candidates} candidates are too many for letters: at most {MOST}"
        )
    if teacher.history_length < 1:
        raise BadSetting("the prompt must show at least one item of the history")
    if not 0.0 <= teacher.open_share <= 1.0:
        raise BadSetting(f"open_share is a share between 0 and 1, not {teacher.open_share}")
    if config.minutes < 0 or teacher.requests < 0:
        raise BadSetting("minutes and requests cannot be negative")
    if config.final and config.language is not None:
        raise BadSetting("a student that reads text has no final training", next_step="no --final")
