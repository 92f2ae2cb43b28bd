"""Flags before environment before file before defaults, and where each value came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from recommender.config import ResolvedSettings, Settings, resolve
from storage.errors import BadSetting


def found(
    tmp_path: Path,
    *,
    file: str = "",
    environ: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
) -> ResolvedSettings:
    if file:
        (tmp_path / "recsys.toml").write_text(file)
    return resolve(flags, environ=environ or {}, directory=tmp_path)


def test_each_source_yields_to_the_one_before_it(tmp_path: Path) -> None:
    file = 'teacher = "file"\nseed = 1\nhistory_length = 7\n'
    environ = {"RECSYS_TEACHER": "environment", "RECSYS_SEED": "2"}
    one = found(tmp_path, file=file, environ=environ, flags={"teacher": "flag", "db": None})
    assert (one.settings.teacher, one.settings.seed, one.settings.history_length) == ("flag", 2, 7)
    assert one.settings.candidates == 10
    assert one.origins["teacher"] == "flag --teacher"
    assert one.origins["seed"] == "environment RECSYS_SEED"
    assert one.origins["history_length"] == str(tmp_path / "recsys.toml")
    assert one.origins["candidates"] == one.origins["db"] == "default"


def test_the_database_lies_in_the_data_folder(tmp_path: Path) -> None:
    one = found(tmp_path, environ={"RECSYS_HOME": "/data"})
    assert one.settings.db == "/data/recsys.sqlite"
    assert one.settings.artifacts == Path("/data/artifacts")
    assert one.origins["data_dir"] == "environment RECSYS_HOME"


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "mine.toml").write_text('data_dir = "shop"\ndb = "shop.db"\n')
    one = found(tmp_path, environ={"RECSYS_CONFIG": str(other / "mine.toml")})
    assert one.settings.data_dir == other / "shop"
    assert one.settings.db == str(other / "shop.db")


def test_urls_in_a_file_stay_as_they_are(tmp_path: Path) -> None:
    one = found(tmp_path, file='db = "postgresql://shop/recsys"')
    assert one.settings.db == "postgresql://shop/recsys"


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="'histry_length', which is no setting; did you mean 'hi"):
        found(tmp_path, file="histry_length = 3")


@pytest.mark.parametrize(
    ("environ", "what"),
    [
        ({"RECSYS_DEVICE": "gpu"}, r"device = 'gpu' \(environment RECSYS_DEVICE\)"),
        ({"RECSYS_SEED": "-1"}, "seed = '-1'.*greater than or equal to 0"),
        ({"RECSYS_CANDIDATES": "ten"}, "candidates = 'ten'"),
        ({"RECSYS_CONFIG": "/nowhere.toml"}, "RECSYS_CONFIG names '/nowhere.toml'"),
    ],
)
def test_unusable_values_name_setting_value_and_origin(
    tmp_path: Path, environ: dict[str, str], what: str
) -> None:
    with pytest.raises(BadSetting, match=what):
        found(tmp_path, environ=environ)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"recsys\.toml"):
        found(tmp_path, file="seed = = 3")


def test_other_variables_of_that_prefix_are_reported_and_ignored(tmp_path: Path) -> None:
    environ = {"RECSYS_SERVICE_HOST": "10.0.0.1", "RECSYS_SEED": ""}
    one = found(tmp_path, environ=environ)
    assert one.ignored == ("RECSYS_SERVICE_HOST",)
    assert one.origins["seed"] == "default"


def test_settings_are_frozen_and_take_nothing_else() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings(data_dir=Path("x")).seed = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        Settings(data_dir=Path("x"), sed=3)  # type: ignore[call-arg]


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
