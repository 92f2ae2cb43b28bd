"""Outputs that are whole or absent, and what stands in their way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from distill.exporting.writing import ABANDONED, whole_directory, whole_file
from storage.errors import BadSetting, StoreUnavailable

HALF = """
import os, sys
from pathlib import Path
from distill.exporting.writing import whole_file
with whole_file(Path(sys.argv[1]), force=True) as part:
    part.write_text("half")
    os.kill(os.getpid(), 9)
"""
FULL = """
import resource, signal, sys
from pathlib import Path
from distill.exporting.writing import whole_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    with whole_file(Path(sys.argv[1]), force=True) as part:
        part.write_bytes(bytes(20_000))
except Exception as error:
    print(type(error).__name__, error)
"""


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_a_file_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    target = tmp_path / "a.gguf"
    with whole_file(target, force=False) as part:
        part.write_text("all")
        assert not target.exists()
    assert (target.read_text(), names(tmp_path)) == ("all", ["a.gguf"])
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.gguf"
    target.write_text("mine")
    with suppress(ZeroDivisionError), whole_file(target, force=True) as part:
        part.write_text("half")
        _ = 1 / 0
    assert (target.read_text(), names(tmp_path)) == ("mine", ["a.gguf"])


def test_a_kill_leaves_what_was_there_and_is_cleared_up_later(tmp_path: Path) -> None:
    target = tmp_path / "a.gguf"
    target.write_text("mine")
    subprocess.run([sys.executable, "-c", HALF, str(target)], check=False)
    assert target.read_text() == "mine"
    [left] = [one for one in tmp_path.iterdir() if one != target]
    with whole_file(target, force=True) as part:
        part.write_text("new")
    assert left.exists()  # somebody may be at it still
    old = time.time() - ABANDONED - 1
    os.utime(left, (old, old))
    with whole_file(target, force=True) as part:
        part.write_text("newer")
    assert (target.read_text(), names(tmp_path)) == ("newer", ["a.gguf"])


def a_model(place: Path, said: str) -> Path:
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(said)
    return place


def test_a_model_is_replaced_once_the_new_one_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the old one was deleted first, and a rename that failed left neither."""
    target = a_model(tmp_path / "model", "old")
    rename = os.replace

    def fails(source: Path, place: Path) -> None:
        if Path(source).is_dir() and (Path(source) / "config.json").read_text() == "new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(source, place)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fails)
        with (
            pytest.raises(StoreUnavailable, match="nothing was lost"),
            whole_directory(target, force=True) as part,
        ):
            a_model(part, "new")
    assert ((target / "config.json").read_text(), names(tmp_path)) == ("old", ["model"])
    with whole_directory(target, force=True) as part:
        a_model(part, "new")
    assert ((target / "config.json").read_text(), names(tmp_path)) == ("new", ["model"])


def test_a_kill_between_two_names_loses_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the old model waited under a name that the next run cleared away."""
    target = a_model(tmp_path / "model", "old")
    rename = os.replace

    def killed(source: Path, place: Path) -> None:
        if Path(source) == target:
            rename(source, place)
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(SystemExit), whole_directory(target, force=True) as part:
            a_model(part, "new")
    assert not target.exists()
    with (
        pytest.raises(BadSetting, match="is there already"),
        whole_directory(target, force=False),
    ):
        pass
    assert ((target / "config.json").read_text(), names(tmp_path)) == ("old", ["model"])


def test_a_link_to_a_model_stays_a_link(tmp_path: Path) -> None:
    real = a_model(tmp_path / "real", "old")
    link = tmp_path / "link"
    link.symlink_to(real)
    with whole_directory(link, force=True) as part:
        a_model(part, "new")
    assert link.is_symlink()
    assert ((real / "config.json").read_text(), names(tmp_path)) == ("new", ["link", "real"])


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    target = tmp_path / "a.gguf"
    target.write_text("mine")
    program = [sys.executable, "-c", FULL, str(target)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    said = os.strerror(errno.EFBIG)
    assert done.stdout.startswith("StoreUnavailable")
    assert f"was not written, and nothing was lost: {said}; next: free some space" in done.stdout
    assert (target.read_text(), names(tmp_path)) == ("mine", ["a.gguf"])


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreUnavailable, match=r"would have .* MB, and .* are free"),
        whole_file(tmp_path / "a.gguf", force=False, size=2**60),
    ):
        raise AssertionError("it was begun")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with (
            pytest.raises(StoreUnavailable, match="cannot be written: Permission denied"),
            whole_file(tmp_path / "a.gguf", force=False),
        ):
            raise AssertionError("it was begun")
    finally:
        tmp_path.chmod(0o700)


def test_a_place_that_takes_no_files() -> None:
    with (
        pytest.raises(StoreUnavailable, match="cannot be written"),
        whole_file(Path("/proc/a.gguf"), force=False),
    ):
        raise AssertionError("it was begun")


def test_names_that_are_taken(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(BadSetting, match="is there already"), whole_file(tmp_path, force=False):
        raise AssertionError("it was begun")
    with pytest.raises(BadSetting, match="is a directory"), whole_file(tmp_path, force=True):
        raise AssertionError("it was begun")
    with (
        pytest.raises(BadSetting, match=r"no folder .*absent'"),
        whole_file(tmp_path / "absent" / "a.gguf", force=False),
    ):
        raise AssertionError("it was begun")
    with (
        pytest.raises(BadSetting, match="no model's directory"),
        whole_directory(tmp_path / "there", force=True),
    ):
        raise AssertionError("it was begun")
    assert (tmp_path / "there" / "mine.txt").read_text() == "mine"


def test_a_models_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("old", "new"):
        with whole_directory(target, force=content == "new") as part:
            (part / "config.json").write_text("{}")
            (part / f"{content}.txt").write_text(content)
    assert names(target) == ["config.json", "new.txt"]
    with suppress(ZeroDivisionError), whole_directory(target, force=True) as part:
        (part / "config.json").write_text("{}")
        _ = 1 / 0
    assert names(target) == ["config.json", "new.txt"]
    assert names(tmp_path) == ["model"]
