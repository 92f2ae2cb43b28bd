"""Configurations in YAML files: of one's own, or the published settings that come with us.

    method: fisher-ld
    student: {network: {blocks: 4}}
    loss: {depth_beta: 0.3}

What a file does not say stays as it was; a key that is none is an error with the nearest. A
method comes first and what else the file says afterwards, whatever their order in the file.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from distill.config import DistilConfig
from distill.methods import with_method
from storage.errors import BadSetting, nearest

PUBLISHED = Path(__file__).parent / "published"
"""Where the settings of papers lie, one file a paper."""
MOST_BYTES = 1_000_000


def published() -> tuple[str, ...]:
    """Return the names of the settings that come with us.

    >>> "fisher-ld" in published()
    True
    """
    return tuple(sorted(file.stem for file in PUBLISHED.glob("*.yaml")))


def find_config(name: str | Path) -> Path:
    """Return the file of a name: a path, or the published settings of that name.

    Raises:
        BadSetting: there is neither.

    >>> find_config("fisher-ld").name
    'fisher-ld.yaml'
    """
    path = Path(name)
    if path.is_file():
        return path
    if str(name) in published():
        return PUBLISHED / f"{name}.yaml"
    raise BadSetting(
        f"no configuration {str(name)!r}: neither a file nor one that comes with us"
        f"{nearest(str(name), published())}"
    )


def configured_by(
    config: DistilConfig,
    file: str | Path,
    over: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
) -> DistilConfig:
    """Return a configuration with what a file says about it.

    Args:
        config: where a file says nothing.
        file: a path, or the name of published settings.
        over: what counts more than the file, as `overridden` takes it.
        folder: where a method of the user's own is looked for.

    Raises:
        BadSetting: there is no such file, it is no YAML, or says what cannot be said.

    >>> configured_by(DistilConfig("Books"), "fisher-ld").loss.temperature
    1.0
    """
    path = find_config(file)
    said = read_yaml(path)
    try:
        made = overridden(config, said, folder=folder)
    except BadSetting as error:
        raise BadSetting(f"{path.name}: {error.what}", next_step=error.next_step) from error
    return overridden(config, merged(said, over), folder=folder) if over else made


def overridden(
    config: DistilConfig, values: Mapping[str, Any], *, folder: Path | None = None
) -> DistilConfig:
    """Return a configuration with other values; its method first, then all the rest.

    A method may change what only a student that reads text has, so such a student is there
    before the method is set.

    Raises:
        BadSetting: a key that is none, or a value that does not fit.

    >>> made = overridden(DistilConfig("Books"), {"loss": {"task": 2}, "method": "logits-only"})
    >>> made.loss.task, made.loss.layer
    (2.0, 0.0)
    >>> values = {"method": "layerdrop", "language": {"layers": 6}}
    >>> overridden(DistilConfig("Books"), values).language.layerdrop
    0.2
    """
    if "method" in values:
        if not isinstance(values["method"], str):
            raise BadSetting(f"method: {values['method']!r} is no name")
        if values.get("language") is not None:
            config = config.with_language()
        config = with_method(config, values["method"], folder=folder)
    return DistilConfig.from_dict(merged(config.as_dict(), values))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        BadSetting: it cannot be read, is no YAML, holds something else, or says a key twice.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadSetting(f"{str(path)!r} is too large for a configuration")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{str(path)!r} cannot be read: {error}") from error
    try:
        found = yaml.load(text, Loader=_OnceLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise BadSetting(f"{str(path)!r} is no YAML: {said}") from error
    except RecursionError as error:
        raise BadSetting(f"{str(path)!r} is nested too deeply for a configuration") from error
    if not found:
        raise BadSetting(f"{str(path)!r} says nothing: it holds no 'name: value'")
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise BadSetting(f"{str(path)!r} does not hold names with values, 'name: value'")
    return found


class _OnceLoader(yaml.SafeLoader):
    """A loader to which a key that is said twice is an error, and not the last word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping, each key once."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is said twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def merged(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with others in their place, mapping by mapping.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    made = dict(base)
    for name, value in other.items():
        below = made.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            made[name] = merged(below, value)
        else:
            made[name] = value
    return made
