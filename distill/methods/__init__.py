"""Ways to distil and sizes of students, by name: what a person chooses between, as data.

Apart from the configuration, which can say far more than these, because screens and reports
need names that mean the same everywhere. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from distill.config import DistilConfig, LossConfig
from distill.importance.criteria import CRITERIA
from distill.matches import FEWEST_COMPARED, Match
from distill.methods import layerwise
from distill.methods.rankwise import RANKED_METHODS
from distill.methods.records import Change, Matches, Method, Setting
from distill.methods.tokenwise import TOKEN_METHODS
from recommender.own import construct, load_class
from recommender.sequential.shape import NetworkConfig
from storage.errors import BadSetting, nearest

__all__ = [
    "CONTROLS",
    "FIRST",
    "METHODS",
    "RANKED_METHODS",
    "SIZES",
    "TEXT_METHODS",
    "TOKEN_METHODS",
    "Change",
    "Matches",
    "Method",
    "Setting",
    "check_method",
    "describe",
    "method",
    "size",
    "with_method",
]

FISHER = "fisher-empirical"
DEPTH_BETA = 0.3
"""β of the depth emphasis where a method is about nothing else (algorithms.md §1.2, I6)."""


def _loss(**changes: object) -> Change:
    return lambda config: config.with_loss(**changes)


def _labels_alone(config: DistilConfig) -> DistilConfig:
    return config.with_teacher(weights="none").with_loss(layer=0.0)


def _undistilled(config: DistilConfig) -> DistilConfig:
    return config.with_teacher(weights="none").with_loss(layer=0.0, output=0.0)


def _depth(config: DistilConfig) -> DistilConfig:
    return config if config.loss.depth_beta else config.with_loss(depth_beta=DEPTH_BETA)


def _as_published(config: DistilConfig) -> DistilConfig:
    return config.with_loss(
        depth_beta=config.loss.depth_beta or DEPTH_BETA,
        task=0.3,
        output=0.4,
        layer=0.25,
        l2=0.05,
        temperature=4.0,
        divergence="bernoulli",
        layer_fade=0.0,
        criterion=FISHER,
    ).with_student(objective="bce")


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        one.name: one
        for one in (
            Method(
                "fisher-ld",
                "labels, and layers that count by their Fisher information",
                _loss(criterion=FISHER),
                layerwise.by_importance,
                weighs=True,
            ),
            Method("none", "no teacher: what the student is by itself", _undistilled, hears=False),
            Method("logits-only", "labels alone: no layers are matched", _labels_alone),
            Method(
                "uniform", "labels, and layers that all count the same", _loss(), layerwise.uniform
            ),
            Method(
                "layers-only",
                "layers alone, by their Fisher information: what it says is not heard",
                _loss(criterion=FISHER, output=0.0),
                layerwise.by_importance,
                weighs=True,
            ),
            Method(
                "fisher-reversed",
                "a control: the weights of fisher-ld from the other end",
                _loss(criterion=FISHER),
                layerwise.reversed_importance,
                weighs=True,
            ),
            Method(
                "fisher-shuffled",
                "a control: the weights of fisher-ld dealt to other layers",
                _loss(criterion=FISHER),
                layerwise.shuffled_importance,
                weighs=True,
            ),
            Method(
                "depth-only",
                "a control: the emphasis on depth, and no importance",
                _depth,
                layerwise.depth_only,
            ),
            Method(
                "linear", "a control: weights that rise from 0.1 to 1", _loss(), layerwise.linear
            ),
            Method(
                "labels-permuted",
                "a control: as fisher-ld, but the answers are dealt to the wrong requests",
                _loss(criterion=FISHER, permute_labels=True),
                layerwise.by_importance,
                weighs=True,
                items=True,
            ),
            Method(
                "pkd-skip",
                "unit vectors of every few layers (PKD, skip)",
                _loss(),
                layerwise.pkd_skip,
            ),
            Method(
                "pkd-last",
                "unit vectors of the last layers (PKD, last)",
                _loss(),
                layerwise.pkd_last,
            ),
            Method(
                "progressive",
                "layers one after another, the first one first",
                _loss(),
                layerwise.progressive,
            ),
            Method(
                "slmrec",
                "directions and lengths of blocks, and every block predicts (SLMRec)",
                _loss(),
                layerwise.slmrec,
            ),
            Method(
                "layer-attention",
                "each layer learns its own mixture of the teacher's, Fisher to start from",
                _loss(criterion=FISHER),
                layerwise.layer_attention,
                weighs=True,
            ),
            Method(
                "fisher-ld-as-published",
                "equation 7 as printed, whatever is unsound about it",
                _as_published,
                layerwise.as_published,
                weighs=True,
                items=True,
            ),
        )
    }
)
"""For students of either family, by name; the first is the one to begin with."""
FIRST = next(iter(METHODS))

TEXT_METHODS: Mapping[str, Method] = MappingProxyType(
    {**{name: one for name, one in METHODS.items() if not one.items}, **TOKEN_METHODS}
)
"""For students that read text, by name."""

CONTROLS = ("fisher-reversed", "fisher-shuffled", "depth-only", "linear", "labels-permuted")
"""What a gain of Fisher-LD has to beat before it is one."""

SIZES: Mapping[str, NetworkConfig] = MappingProxyType(
    {
        "standard": NetworkConfig(),
        "small": NetworkConfig(width=32, blocks=1, heads=1),
        "deep": NetworkConfig(blocks=4),
        "wide": NetworkConfig(width=128),
        "gru4rec": NetworkConfig(architecture="gru4rec"),
    }
)
"""Sequential students by name; the first is the one to begin with."""


def method(name: str, *, folder: Path | None = None) -> Method:
    """Return a way to distil by name: ours, a criterion's, or 'module:preset' of the user's own.

    A criterion's name (`recsys importance --help` lists them) means fisher-ld with that
    criterion in the place of Fisher information.

    Args:
        name: the name.
        folder: of `recsys.toml`, where the user's module is looked for.

    Raises:
        BadSetting: there is none, with the nearest.

    >>> method("uniform").matches(Setting.of(30, 2, DistilConfig("Books").loss))[0].teacher
    15
    >>> method("block-influence").change(DistilConfig("Books")).loss.criterion
    'block-influence'
    """
    every = {**METHODS, **RANKED_METHODS, **TOKEN_METHODS}
    if name in every:
        return every[name]
    if name in CRITERIA:
        return Method(
            name,
            f"labels, and layers that count by {name}",
            _loss(criterion=name),
            layerwise.by_importance,
            weighs=True,
        )
    if ":" in name:
        return _own(name, folder)
    raise BadSetting(f"no method {name!r}{nearest(name, [*every, *CRITERIA])}")


def with_method(config: DistilConfig, name: str, *, folder: Path | None = None) -> DistilConfig:
    """Return a configuration distilled by a method: its name, and what it changes.

    >>> with_method(DistilConfig("Books"), "logits-only").loss.layer
    0.0
    """
    return replace(method(name, folder=folder).change(config), method=name)


def check_method(config: DistilConfig, *, folder: Path | None = None) -> None:
    """Refuse a method that there is not, or that the student cannot learn by.

    Raises:
        BadSetting: which, and why.

    >>> check_method(DistilConfig("Books", method="tinybert"))
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: 'tinybert' compares token by token, and ...
    """
    chosen = method(config.method, folder=folder)
    if chosen.tokens and config.language is None:
        raise BadSetting(
            f"{config.method!r} compares token by token, and a sequential student sees items "
            "where the teacher sees text",
            next_step="--student micro, a student that reads text, or another --method",
        )
    loss = config.loss
    if chosen.hears and not (loss.output or loss.layer or loss.ranked.is_on):
        raise BadSetting(
            f"{config.method!r} would hear nothing of the teacher: its shares of the loss are 0",
            next_step="--method none, or other shares in --config",
        )
    without = config.language is None and config.teacher.weights == "none"
    if chosen.hears and without and not (loss.output or loss.ranked.is_on):
        raise BadSetting(
            f"{config.method!r} hears nothing but layers, and --weights none has none",
            next_step="another --weights, or --method logits-only",
        )
    if loss.balance and config.language is not None and config.language.accumulate > 1:
        raise BadSetting(
            f"{config.method!r} balances the losses of a whole step, which cannot be computed in "
            f"{config.language.accumulate} pieces",
            next_step="language: {accumulate: 1}",
        )
    about_items = chosen.items or config.loss.ranked.is_on
    if about_items and config.language is not None:
        raise BadSetting(
            f"{config.method!r} is about what the teacher says of items, and a student that reads "
            "text learns token by token",
            next_step="--student standard, a sequential student, or another --method",
        )
    _check_weighing(config, chosen)
    if config.language is not None:
        _refuse_of_items(config)
    looks_inside = config.loss.layer > 0 and config.teacher.weights != "none"
    if looks_inside and config.language is None and 0 < config.teacher.requests < FEWEST_COMPARED:
        raise BadSetting(
            f"{config.method!r} compares layers by how requests differ from their mean, and one "
            "request does not differ from itself",
            next_step=f"--requests {FEWEST_COMPARED} or more, or --method logits-only",
        )


def _check_weighing(config: DistilConfig, chosen: Method) -> None:
    """Refuse weights of layers that nothing measures, or that cannot move as is asked."""
    loss = config.loss
    if loss.criterion not in CRITERIA:
        raise BadSetting(
            f"no criterion {loss.criterion!r} of layers{nearest(loss.criterion, [*CRITERIA])}",
            next_step="recsys importance --help",
        )
    if loss.dynamic == "teacher" and loss.criterion != FISHER:
        raise BadSetting(
            f"weights that follow the teacher follow its Fisher information, not {loss.criterion}",
            next_step="loss: {dynamic: none}",
        )
    if loss.dynamic != "none" and chosen.matches is not layerwise.by_importance:
        raise BadSetting(
            f"weights that move are those of importance, and {config.method!r} has others",
            next_step="--method fisher-ld, or loss: {dynamic: none}",
        )


def _refuse_of_items(config: DistilConfig) -> None:
    """Refuse what a loss may have over items only, for a student that reads text."""
    plain = LossConfig()
    for name in ("permute_labels", "divergence", "l2"):
        if getattr(config.loss, name) != getattr(plain, name):
            raise BadSetting(
                f"loss.{name} is of students that see items, and this one reads text",
                next_step="--student standard, a sequential student",
            )


def size(name: str) -> NetworkConfig:
    """Return the shape of a student by the name of its size.

    Raises:
        BadSetting: there is none, with the nearest.

    >>> size("deep").blocks
    4
    """
    if name not in SIZES:
        raise BadSetting(f"no size {name!r} of a student{nearest(name, list(SIZES))}")
    return SIZES[name]


def describe(shape: NetworkConfig) -> str:
    """Say how large a student is, in a few words.

    >>> describe(NetworkConfig())
    'width 64, 2 blocks'
    """
    blocks = "1 block" if shape.blocks == 1 else f"{shape.blocks} blocks"
    kind = "" if shape.architecture == "sasrec" else ", GRU4Rec"
    return f"width {shape.width}, {blocks}{kind}"


def _own(place: str, folder: Path | None) -> Method:
    """Load a method of the user's own: a function from a `Setting` to a list of `Match`."""
    found = load_class(place, "method", folder)

    def matches(setting: Setting) -> tuple[Match, ...]:
        made = construct(place, "method", folder, setting)
        if not isinstance(made, Iterable):
            raise BadSetting(f"the method {place!r} gave {made!r}, and no list of Match")
        listed = tuple(made)
        strange = next((one for one in listed if not isinstance(one, Match)), None)
        if strange is not None or not listed:
            raise BadSetting(f"the method {place!r} gave {strange!r}, and no list of Match")
        return listed

    about = (found.__doc__ or "of your own").strip().splitlines()[0]
    return Method(place, about, _loss(), matches, own=True)
