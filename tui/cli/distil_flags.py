"""What is asked of a distillation: settings, then a file, then flags, each over the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from storage.errors import BadSetting

if TYPE_CHECKING:
    from distill.config import DistilConfig
    from recommender.config import ResolvedSettings


@dataclass(frozen=True, slots=True)
class Flags:
    """What was typed about a student and how it is taught; None was not."""

    method: str | None = None
    student: str | None = None
    config: str | None = None
    shape: tuple[int | None, int | None, int | None] = (None, None, None)
    """Layers, width, heads."""
    language: Mapping[str, object] = field(default_factory=dict)
    """Of a student that reads text."""
    sequential: Mapping[str, object] = field(default_factory=dict)
    teacher: Mapping[str, object] = field(default_factory=dict)
    rest: Mapping[str, object] = field(default_factory=dict)


def asked_for(base: DistilConfig, found: ResolvedSettings, flags: Flags) -> DistilConfig:
    """Return what settings, a file and flags ask for: each counts more than the one before.

    Args:
        base: what the settings ask for.
        found: the settings; those whose flags were typed count more than a file.
        flags: the other flags.

    Raises:
        BadSetting: a name that there is not, or what does not go together.
    """
    # Imported here: `recsys --help` distils nothing.
    from distill.config import check
    from distill.config_files import configured_by, merged, overridden
    from distill.language.keeping import require_rules
    from distill.methods import check_method
    from distill.students import shape_values, values_of

    folder = found.settings.folder
    named = values_of(flags.student) if flags.student else {}
    file = configured_by(base, flags.config, folder=folder) if flags.config else base
    text = "language" in named or (not named and file.language is not None)
    own = _given({"language": flags.language})
    layers, hidden, heads = flags.shape
    over = merged(named, shape_values(text=text, layers=layers, hidden=hidden, heads=heads))
    for values in (own, _given({"student": flags.sequential}), _given({"teacher": flags.teacher})):
        over = merged(over, values)
    over |= {name: value for name, value in flags.rest.items() if value is not None}
    _refuse_other_family(text, own, _given({"student": flags.sequential}))
    _refuse_other_making(flags, named, file)
    over = merged(over, _typed(found)) if flags.config else over
    if flags.method:
        over["method"] = flags.method
    if not text and file.language is not None:
        over["language"] = None
    made = (
        configured_by(base, flags.config, over, folder=folder)
        if flags.config
        else overridden(base, over, folder=folder)
    )
    if made.language is not None and found.settings.weights == "none":
        raise BadSetting(
            "a student that reads text is made and taught by weights, and --weights is 'none'",
            next_step="--weights auto",
        )
    if made.language is not None:
        require_rules(made.language)
    check(made)
    check_method(made, folder=folder)
    return made


def _given(sections: Mapping[str, Mapping[str, object]]) -> dict[str, Any]:
    """Return what was typed of each section; nothing for one of which nothing was."""
    made = {
        name: {key: value for key, value in values.items() if value is not None}
        for name, values in sections.items()
    }
    return {name: values for name, values in made.items() if values}


def _refuse_other_family(text: bool, own: Mapping[str, Any], sequential: Mapping[str, Any]) -> None:
    wrong = sequential if text else own
    for values in wrong.values():
        flag = f"--{next(iter(values)).replace('_', '-')}"
        kind = "sequential student" if text else "student that reads text"
        step = "--student standard" if text else "--student micro"
        if flag == "--keep":
            step = "--student cut-75"
        if flag == "--epochs":
            step = "--tokens, how much a student that reads text is trained"
        raise BadSetting(f"{flag} is for a {kind}", next_step=step)


def _refuse_other_making(flags: Flags, named: Mapping[str, Any], file: DistilConfig) -> None:
    """Refuse flags that the student's kind has no use for."""
    layers, hidden, heads = flags.shape
    text = named.get("language") or (file.language and {"making": file.language.making}) or {}
    network = named.get("student", {}).get("network", {})
    making = "" if "student" in named else text.get("making", "")
    given = {"--layers": layers, "--hidden": hidden, "--heads": heads}
    typed = [flag for flag, value in given.items() if value is not None]
    if making == "cut" and typed:
        raise BadSetting(
            f"{typed[0]} is for a student from scratch: a cut has its teacher's shape",
            next_step="--student micro, or --keep for which layers a cut keeps",
        )
    if making == "fresh" and flags.language.get("keep") is not None:
        raise BadSetting(
            "--keep is for a cut: a student from scratch keeps nothing",
            next_step="--student cut-75",
        )
    if network.get("architecture") == "gru4rec" and heads is not None:
        raise BadSetting(
            "--heads is of attention, which a GRU4Rec has none of", next_step="no --heads"
        )


def _typed(found: ResolvedSettings) -> dict[str, Any]:
    """Return the settings whose flags were typed, where a configuration has them."""
    here = found.settings
    made: dict[str, Any] = {}
    typed = {n for n, origin in found.origins.items() if origin.startswith("flag --")}
    places = {
        "teacher": ("teacher", "spec"),
        "weights": ("teacher", "weights"),
        "candidates": ("teacher", "candidates"),
        "orders": ("teacher", "orders"),
        "in_flight": ("teacher", "in_flight"),
        "teacher_mode": ("teacher", "mode"),
        "item_fields": ("teacher", "item_fields"),
        "history_length": ("teacher", "history_length"),
        "device": ("teacher", "device"),
    }
    for name, (section, key) in places.items():
        if name in typed:
            value = getattr(here, name)
            made.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value
    return made | ({"seed": here.seed} if "seed" in typed else {})
