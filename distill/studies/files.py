"""Study files: which arms are compared on what, as data.

    question: do layer weights matter?
    data: [office-products]
    seeds: [0, 1, 2]
    base: {teacher: {requests: 640}, student: {network: {blocks: 4}}}
    arms:
      uniform: {method: uniform}
      fisher-ld: {method: fisher-ld}
    against: [uniform]
    quick: {seeds: [0], base: {student: {epochs: 1}}}

Every arm is the base with other values. What the teacher is asked is decided by the base
alone, so that all arms learn from the same answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.config import DistilConfig
from distill.config_files import merged, overridden, read_yaml
from distill.methods import check_method, method
from recommender.config import Settings
from recommender.metrics import by_name
from storage.errors import BadSetting, nearest

FOLDER = Path(__file__).parent
"""Where the studies of the README lie."""


class _File(BaseModel):
    """What a study file may say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str
    data: Annotated[list[str], Field(min_length=1)]
    arms: Annotated[dict[str, dict[str, Any]], Field(min_length=2)]
    against: list[str] = []
    seeds: Annotated[list[int], Field(min_length=1)] = [0]
    metric: str = "ndcg@10"
    base: dict[str, Any] = {}
    beyond: dict[str, dict[str, Any]] = {}
    """Arms that are trained with `--all` only."""
    quick: dict[str, Any] = {}


@dataclass(frozen=True, eq=False, slots=True)
class Study:
    """A study that can be run."""

    name: str
    question: str
    data: tuple[str, ...]
    seeds: tuple[int, ...]
    base: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    against: tuple[str, ...]
    """Arms that every other one is compared with."""
    metric: str
    settings: Settings | None = None
    """What this machine says about the teacher, under what the file says; None: nothing."""

    def on(self, data: tuple[str, ...]) -> Study:
        """Return the same study of other data."""
        return replace(self, data=data)

    def config(self, category: str, seed: int = 0, arm: str = "") -> DistilConfig:
        """Return the configuration of an arm on a data set, or of what all have in common.

        Raises:
            BadSetting: it cannot be distilled like that.
        """
        begun = DistilConfig(category, seed=seed)
        here = self.settings
        if here is not None:
            begun = begun.with_teacher(
                spec=here.teacher,
                weights="" if here.weights == "auto" else here.weights,
                device=here.device,
                precision=here.precision,
            )
        # Merged first: an arm's method takes the place of the base's, and is not put upon it.
        values = merged(self.base, self.arms[arm]) if arm else self.base
        return replace(overridden(begun, values, folder=self.folder), seed=seed)

    @property
    def folder(self) -> Path | None:
        """Where a method of the user's own is looked for."""
        return None if self.settings is None else self.settings.folder


def studies() -> tuple[str, ...]:
    """Return the names of the studies that come with us.

    >>> "layer-weights" in studies()
    True
    """
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


def read_study(
    name: str | Path,
    *,
    quick: bool = False,
    every: bool = False,
    settings: Settings | None = None,
) -> Study:
    """Read a study: a file, or one that comes with us.

    Args:
        name: path of a YAML file, or one of `studies()`.
        quick: with what the file says under `quick`, small enough to see that it runs.
        every: with the arms under `beyond` too.
        settings: what this machine says about the teacher.

    Raises:
        BadSetting: there is none, or it says what cannot be studied.

    >>> read_study("layer-weights", quick=True).seeds
    (0,)
    """
    path = Path(name)
    if not path.is_file():
        path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise BadSetting(
            f"no study {str(name)!r}: neither a file nor one that comes with us"
            f"{nearest(str(name), studies())}"
        )
    try:
        study = _study(path.stem, read_yaml(path), quick=quick, every=every, settings=settings)
    except BadSetting as error:
        raise BadSetting(f"{path.name}: {error.what}", next_step=error.next_step) from error
    return study


def _study(
    name: str,
    values: Mapping[str, Any],
    *,
    quick: bool,
    every: bool,
    settings: Settings | None,
) -> Study:
    known = list(_File.model_fields)
    for key in values:
        if key not in known:
            raise BadSetting(f"no field {key!r} in a study{nearest(key, known)}")
    try:
        said = _File.model_validate(values)
        if quick:
            if "quick" in said.quick or set(said.quick) - set(known):
                raise BadSetting(f"quick: {sorted(said.quick)} cannot be all said there")
            rest = said.model_dump(exclude={"quick"})
            said = _File.model_validate(merged(rest, said.quick))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadSetting(f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error
    arms = {**said.arms, **(said.beyond if every else {})}
    try:
        by_name(said.metric, np.array([1], dtype=np.int64))
    except ValueError as error:
        raise BadSetting(f"metric: {error}") from error
    missing = next((one for one in said.against if one not in arms), None)
    if missing is not None:
        raise BadSetting(f"against: no arm {missing!r}{nearest(missing, list(arms))}")
    study = Study(
        name=name,
        question=said.question,
        data=tuple(said.data),
        seeds=tuple(said.seeds),
        base=said.base,
        arms=MappingProxyType(arms),
        against=tuple(said.against),
        metric=said.metric,
        settings=settings,
    )
    _check(study)
    return study


def _check(study: Study) -> None:
    """Refuse, before anything is trained, what an arm cannot be."""
    base = study.config(study.data[0])
    if len(set(study.seeds)) < len(study.seeds):
        raise BadSetting("seeds: one is named twice")
    made_by: dict[object, str] = {}
    for arm, values in study.arms.items():
        _refuse_said(arm, values, reads=base.language is not None)
        try:
            made = study.config(study.data[0], arm=arm)
            check_method(made, folder=study.folder)
        except BadSetting as error:
            raise BadSetting(f"arms.{arm}: {error.what}", next_step=error.next_step) from error
        if (made.language is None) != (base.language is None):
            raise BadSetting(f"arms.{arm}: students of one family can be compared, not of two")
        for name, (own, common) in _in_common(made, base).items():
            if own != common:
                raise BadSetting(f"arms.{arm}: {name} is the base's, so that arms can be compared")
        same = made_by.setdefault(_what_differs(made, study.folder), arm)
        if same != arm:
            raise BadSetting(f"arms.{arm}: nothing in it differs from arms.{same}")


def _refuse_said(arm: str, values: Mapping[str, object], *, reads: bool) -> None:
    """Refuse an arm that says what is not its own to say, or what would change nothing."""
    for fixed in ("teacher", "category", "seed", "split", "min_rating"):
        if fixed in values:
            raise BadSetting(f"arms.{arm}: {fixed} is the base's, so that arms can be compared")
    for unused in ("minutes", "final", *(("student",) if reads else ())):
        if unused in values:
            raise BadSetting(f"arms.{arm}: {unused} changes nothing of a student in a study")


def _in_common(made: DistilConfig, base: DistilConfig) -> dict[str, tuple[object, object]]:
    """Return what only the base decides, of an arm and of the base: who is asked, what is read."""
    found: dict[str, tuple[object, object]] = {"max_users": (made.max_users, base.max_users)}
    if made.language is not None and base.language is not None:
        for name in ("max_tokens", "validation", "test_requests"):
            both = getattr(made.language, name), getattr(base.language, name)
            found[f"language.{name}"] = both
    return found


def _what_differs(config: DistilConfig, folder: Path | None) -> object:
    """Return all of an arm that can make another student: two with the same are one arm."""
    chosen = method(config.method, folder=folder)
    heard = (chosen.matches, chosen.weighs) if chosen.hears else ()
    settings = {name: value for name, value in config.as_dict().items() if name != "method"}
    return heard, json.dumps(settings, sort_keys=True)
