"""Settings: typed, frozen, resolved once at the edge and passed down.

A value comes from the first of: a flag, the environment (`RECSYS_DEVICE`), `recsys.toml`, the
default. This is the only module that reads the environment. Each resolved value keeps its
origin, so that `recsys doctor --settings` can say why a value is what it is.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from storage.errors import BadSetting

FILE_NAME = "recsys.toml"
PREFIX = "RECSYS_"
HOME_VARIABLE = "RECSYS_HOME"
CONFIG_VARIABLE = "RECSYS_CONFIG"

SERVER_VARIABLE = "OLLAMA_HOST"
ITEM_FIELDS = ("brand", "price", "category")

Precision = Literal["auto", "float32", "bfloat16"]
TeacherMode = Literal["auto", "likelihood", "letters", "ranking", "generate", "embedding"]


USUAL_DB = "recsys.sqlite"
"""The file in `data_dir` that is the database."""


class Settings(BaseModel):
    """Everything a user can set, resolved.

    >>> Settings(data_dir=Path("shop")).db
    'shop/recsys.sqlite'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data_dir: Path
    """Where the database, the artifacts, downloads and models are kept."""
    db: str = Field(default_factory=lambda known: str(known["data_dir"] / USUAL_DB), min_length=1)
    """A SQLAlchemy URL; a bare path is a SQLite file. By default a file in `data_dir`."""
    teacher: str = Field("embedded", min_length=1)
    """Who answers: 'embedded', a name from `recsys models list`, a path, a hub id, or a model of
    the Ollama server, e.g. 'llama3.1:8b'."""
    teacher_mode: TeacherMode = "auto"
    """How it is asked: 'likelihood', 'letters', 'ranking' (JSON), 'generate' (it names a title,
    which is found in the catalogue), 'embedding' (cosine of titles); 'auto' takes what it can."""
    hosts: tuple[str, ...] = ()
    """Ollama servers; several share the work of `recsys label`. Also read from OLLAMA_HOST."""
    num_ctx: int = Field(4096, ge=256, le=1_048_576)
    """Tokens of context that Ollama loads the teacher with."""
    orders: int = Field(0, ge=0, le=20)
    """In how many rotations letters are asked; 0 is 4 on a server, 1 in this process."""
    in_flight: int = Field(0, ge=0, le=64)
    """Questions under way at once on each server; 0 finds out how many pay."""
    item_fields: tuple[str, ...] = ()
    """What a prompt shows of an item beside its title: 'brand', 'price', 'category'."""
    backends: dict[str, str] = Field(default_factory=dict)
    """The user's own teachers: name -> 'module:Class'."""
    rankers: dict[str, str] = Field(default_factory=dict)
    """The user's own rankers: name -> 'module:Class'."""
    weights: str = Field("auto", min_length=1)
    """Whose layers are measured; 'auto' is the teacher's own where it has any."""
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """Where torch computes: cpu, cuda, cuda:1, mps; 'auto' takes CUDA, then MPS, then the CPU."""
    precision: Precision = "auto"
    """Number format of the teacher; 'auto' is bfloat16 where the device computes in it."""
    history_length: int = Field(10, ge=1, le=200)
    """How many of a person's latest items the teacher is shown."""
    candidates: int = Field(10, ge=2, le=100)
    """How many items the teacher chooses from in one request."""
    seed: int = Field(0, ge=0)
    """The one seed that every other is derived from."""
    threads: int = Field(0, ge=0)
    """CPU threads for torch; 0 leaves the choice to torch."""

    _folder: Path | None = PrivateAttr(default=None)

    @field_validator("hosts", "item_fields", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Let 'a,b' stand for several, as an environment variable must."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("item_fields")
    @classmethod
    def _known_fields(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for field in value:
            if field not in ITEM_FIELDS:
                raise ValueError(f"no field {field!r}: {', '.join(ITEM_FIELDS)}")
        return value

    @property
    def folder(self) -> Path | None:
        """The folder of `recsys.toml`, where the user's own modules are; None without a file."""
        return self._folder

    def carried(self) -> dict[str, object]:
        """Return everything as plain values, for a process that is to resolve nothing itself.

        >>> here = Settings(data_dir=Path("shop"), seed=3)
        >>> Settings.received(here.carried()) == here
        True
        """
        folder = None if self._folder is None else str(self._folder)
        return {"settings": self.model_dump(mode="json"), "folder": folder}

    @classmethod
    def received(cls, carried: Mapping[str, Any]) -> Settings:
        """Make settings of what `carried` returned, in another process."""
        made = cls(**carried["settings"])
        made._folder = None if carried["folder"] is None else Path(carried["folder"])
        return made

    @property
    def has_usual_db(self) -> bool:
        """Whether the database is where it is if nobody says otherwise.

        >>> here = Path("shop")
        >>> Settings(data_dir=here).has_usual_db, Settings(data_dir=here, db="b").has_usual_db
        (True, False)
        """
        return self.db == str(self.data_dir / USUAL_DB)

    @property
    def artifacts(self) -> Path:
        """The directory of content-addressed artifacts."""
        return self.data_dir / "artifacts"

    @property
    def models(self) -> Path:
        """The directory of fetched and registered models."""
        return self.data_dir / "models"

    @property
    def downloads(self) -> Path:
        """The directory that `recsys data pull` fills."""
        return self.data_dir / "downloads"


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """The settings, and for each where its value came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Field -> 'flag --db', 'environment RECSYS_DB', '/path/recsys.toml' or 'default'."""
    ignored: tuple[str, ...] = ()
    """Environment variables that begin with RECSYS_ and name no setting."""


def resolve(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> ResolvedSettings:
    """Resolve flags > environment > `recsys.toml` > defaults, once, at the edge.

    A flag that is None was not given. `environ` and `directory` stand for the process's own.

    >>> found = resolve({"seed": 3}, environ={"RECSYS_TEACHER": "tiny"}, directory=Path("/"))
    >>> found.settings.seed, found.settings.teacher
    (3, 'tiny')
    >>> found.origins["seed"], found.origins["teacher"], found.origins["device"]
    ('flag --seed', 'environment RECSYS_TEACHER', 'default')

    Raises:
        BadSetting: a key that is not a setting, or a value that does not fit one.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {"data_dir": default_data_dir()}
    origins = dict.fromkeys(Settings.model_fields, "default")
    file = _settings_file(environ, directory or Path.cwd())
    from_file = _read_file(file) if file else {}
    from_environment, ignored = _read_environment(environ)
    for name, value in from_file.items():
        values[name], origins[name] = value, str(file)
    for name, (variable, text) in from_environment.items():
        values[name], origins[name] = text, f"environment {variable}"
    for name, value in (flags or {}).items():
        if value is not None:
            values[name], origins[name] = value, f"flag --{name.replace('_', '-')}"
    settings = _validated(values, origins)
    settings._folder = file.parent.absolute() if file else None
    return ResolvedSettings(settings, origins, ignored)


def default_data_dir() -> Path:
    """Return the directory this system keeps a user's application data in."""
    # Imported here: a run that sets RECSYS_HOME never needs it.
    from platformdirs import user_data_path

    return user_data_path("recsys", appauthor=False)


def _settings_file(environ: Mapping[str, str], directory: Path) -> Path | None:
    named = environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise BadSetting(f"{CONFIG_VARIABLE} names {named!r}, which is not a file")
        return path
    path = directory / FILE_NAME
    return path if path.is_file() else None


def _read_file(path: Path) -> dict[str, object]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadSetting(f"cannot read the settings in {str(path)!r}: {error}") from error
    for name in found:
        if name not in Settings.model_fields:
            raise BadSetting(f"{str(path)!r} sets {name!r}, which is no setting{_near(name)}")
    # A relative path in a file means the same from wherever the command is called.
    if isinstance(found.get("data_dir"), str):
        found["data_dir"] = path.parent / Path(found["data_dir"]).expanduser()
    if isinstance(found.get("db"), str) and "://" not in found["db"]:
        found["db"] = str(path.parent / Path(found["db"]).expanduser())
    return found


def _read_environment(
    environ: Mapping[str, str],
) -> tuple[dict[str, tuple[str, str]], tuple[str, ...]]:
    """Return field -> (variable, text), and the RECSYS_ variables that are no setting."""
    found: dict[str, tuple[str, str]] = {}
    ignored: list[str] = []
    if environ.get(SERVER_VARIABLE):
        found["hosts"] = (SERVER_VARIABLE, environ[SERVER_VARIABLE])
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE or not text:
            continue
        name = "data_dir" if variable == HOME_VARIABLE else variable[len(PREFIX) :].lower()
        if name in Settings.model_fields:
            found[name] = (variable, text)
        else:
            ignored.append(variable)
    return found, tuple(ignored)


def _validated(values: dict[str, object], origins: Mapping[str, str]) -> Settings:
    for name in values:
        if name not in Settings.model_fields:
            raise BadSetting(f"{name!r} is no setting{_near(name)}")
    data_dir = values["data_dir"]
    if isinstance(data_dir, (str, Path)):
        values["data_dir"] = Path(data_dir).expanduser()
    arguments: dict[str, Any] = values
    try:
        return Settings(**arguments)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        reason = first["msg"][:1].lower() + first["msg"][1:]
        raise BadSetting(f"{name} = {first['input']!r} ({origins[name]}): {reason}") from error


def _near(name: str) -> str:
    near = get_close_matches(name.lower(), Settings.model_fields, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
