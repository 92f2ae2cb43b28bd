"""Artifacts: complete and verified, or absent, whatever happens while one is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.artifacts import ABANDONED, MANIFEST, Artifacts
from storage.errors import ArtifactDamaged, StoreUnavailable, UnknownName

INPUTS = {"data": "abc", "seed": 1, "candidates": [20, 40]}


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


def make(artifacts: Artifacts, value: float = 1.0) -> Path:
    with artifacts.writing("model", INPUTS, meta={"rows": 3}) as path:
        artifacts.save_arrays(path / "a.safetensors", {"a": np.full((2, 3), value)})
        (path / "deep").mkdir()
        artifacts.write_json(path / "deep" / "b.json", {"ß": [1, None]})
    return artifacts.root / "model" / artifacts.key("model", INPUTS)


def left_over(artifacts: Artifacts) -> list[str]:
    return [path.name for path in artifacts.root.rglob(".*")]


def test_what_is_written_comes_back(artifacts: Artifacts) -> None:
    assert artifacts.find("model", INPUTS) is None
    place = make(artifacts)
    found = artifacts.find("model", INPUTS, verify="full")
    assert found is not None
    assert (found.key, found.kind, found.path) == (place.name, "model", str(place))
    assert found.meta == {"rows": 3}
    names = ("a.safetensors", "deep/b.json")
    assert found.size == sum((place / name).stat().st_size for name in names)
    assert artifacts.load_arrays(found, "a.safetensors")["a"].tolist() == [[1.0] * 3] * 2
    assert artifacts.read_json(found, "deep/b.json") == {"ß": [1, None]}
    assert artifacts.open(found.key) == found
    assert list(artifacts.keys()) == [found.key]
    assert json.loads((place / MANIFEST).read_text())["inputs"] == INPUTS
    assert left_over(artifacts) == []


def test_arrays_of_any_layout_are_written_as_they_read(artifacts: Artifacts) -> None:
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    arrays = {"turned": grid.T, "skipped": grid[:, ::2], "empty": grid[:0], "flag": grid > 5}
    with artifacts.writing("model", INPUTS) as path:
        artifacts.save_arrays(path / "a.safetensors", arrays)
    found = artifacts.find("model", INPUTS)
    assert found is not None
    for name, array in artifacts.load_arrays(found, "a.safetensors").items():
        assert np.array_equal(array, arrays[name])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_the_key_is_of_the_content_not_of_its_order(inputs: dict[str, object]) -> None:
    key = Artifacts.key("model", inputs)
    assert key == Artifacts.key("model", dict(reversed(inputs.items())))
    assert key != Artifacts.key("other", inputs)
    assert key != Artifacts.key("model", {**inputs, "one more": 1})
    assert len(key) == 24


def test_a_key_needs_numbers_that_can_be_compared() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Artifacts.key("model", {"lr": float("nan")})


def test_an_error_leaves_nothing(artifacts: Artifacts) -> None:
    def fail() -> None:
        with artifacts.writing("model", INPUTS) as path:
            (path / "half").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert artifacts.find("model", INPUTS) is None
    assert list((artifacts.root / "model").iterdir()) == []


@pytest.mark.parametrize("what", ["json", "arrays"])
def test_a_disk_that_takes_no_more(artifacts: Artifacts, what: str) -> None:
    """A limit on the size of files stands in for a full disk: the same calls fail."""
    program = f"""
import pathlib, resource, sys
import numpy as np
from storage.artifacts import Artifacts
from storage.errors import StoreUnavailable
artifacts = Artifacts(pathlib.Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    with artifacts.writing("model", {{}}) as path:
        if {what!r} == "json":
            artifacts.write_json(path / "a", [0] * 100_000)
        else:
            artifacts.save_arrays(path / "a", {{"a": np.zeros(100_000)}})
except StoreUnavailable as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(artifacts.root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "was not written, and nothing was lost: File too large; next: free" in done.stdout
    assert artifacts.find("model", {}) is None
    assert left_over(artifacts) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_named(artifacts: Artifacts) -> None:
    def fill() -> None:
        with artifacts.writing("model", INPUTS) as path:
            (path / "a").symlink_to("/dev/full")
            artifacts.write_json(path / "a", [0] * 10_000)

    with pytest.raises(StoreUnavailable, match="No space left on device; next: free some space"):
        fill()
    assert artifacts.find("model", INPUTS) is None


def spoil(place: Path, how: str) -> None:
    file = place / "a.safetensors"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif how == "gone":
        file.unlink()
    elif how == "flipped":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    elif how == "no manifest":
        (place / MANIFEST).unlink()
    elif how == "torn manifest":
        (place / MANIFEST).write_text('{"files": {"a.safet')
    else:
        (place / MANIFEST).write_text("[]")


WAYS = ["cut", "gone", "flipped", "no manifest", "torn manifest", "other manifest"]


@pytest.mark.parametrize("how", WAYS)
def test_damage_is_named_with_what_mends_it(artifacts: Artifacts, how: str) -> None:
    place = make(artifacts)
    spoil(place, how)
    with pytest.raises(ArtifactDamaged, match=r"next: recsys doctor --repair") as caught:
        artifacts.find("model", INPUTS, verify="full")
    assert str(place) in str(caught.value)
    assert [key for key, _ in artifacts.damaged()] == [place.name]
    artifacts.remove(place.name)
    assert artifacts.find("model", INPUTS) is None
    assert list(artifacts.damaged()) == []


def test_looking_costs_no_reading_unless_asked(artifacts: Artifacts) -> None:
    spoil(make(artifacts), "flipped")
    assert artifacts.find("model", INPUTS) is not None


@pytest.mark.parametrize("how", WAYS)
def test_what_is_damaged_is_replaced_when_made_again(artifacts: Artifacts, how: str) -> None:
    spoil(make(artifacts), how)
    make(artifacts, 2.0)
    found = artifacts.find("model", INPUTS, verify="full")
    assert found is not None
    assert artifacts.load_arrays(found, "a.safetensors")["a"][0, 0] == 2.0


def test_files_that_cannot_be_read_are_named(artifacts: Artifacts) -> None:
    with artifacts.writing("model", INPUTS) as path:
        (path / "bad").write_text("neither")
    found = artifacts.find("model", INPUTS)
    assert found is not None
    with pytest.raises(ArtifactDamaged, match="bad"):
        artifacts.load_arrays(found, "bad")
    with pytest.raises(ArtifactDamaged, match="bad"):
        artifacts.read_json(found, "bad")
    with pytest.raises(ArtifactDamaged, match="absent"):
        artifacts.read_json(found, "absent")
    with pytest.raises(UnknownName, match="no artifact 'abc'"):
        artifacts.open("abc")


def test_the_first_of_two_at_once_wins(artifacts: Artifacts) -> None:
    with artifacts.writing("model", INPUTS) as outer:
        (outer / "who").write_text("outer")
        with artifacts.writing("model", INPUTS) as inner:
            (inner / "who").write_text("inner")
    place = artifacts.root / "model" / artifacts.key("model", INPUTS)
    assert (place / "who").read_text() == "inner"
    assert left_over(artifacts) == []


def test_two_processes_write_one_artifact(artifacts: Artifacts) -> None:
    program = """
import pathlib, sys, time
from storage.artifacts import Artifacts
artifacts = Artifacts(pathlib.Path(sys.argv[1]))
while time.time() < float(sys.argv[2]):
    pass
for n in range(20):
    with artifacts.writing("model", {"n": n}) as path:
        artifacts.write_json(path / "a.json", [n] * 1000)
"""
    start = str(time.time() + 1.5)
    command = [sys.executable, "-c", program, str(artifacts.root), start]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    for n in range(20):
        found = artifacts.find("model", {"n": n}, verify="full")
        assert found is not None
        assert artifacts.read_json(found, "a.json") == [n] * 1000
    assert len(list(artifacts.keys())) == 20
    assert left_over(artifacts) == []


def test_a_kill_leaves_nothing_that_is_taken_for_an_artifact(artifacts: Artifacts) -> None:
    program = """
import os, pathlib, sys
from storage.artifacts import Artifacts
with Artifacts(pathlib.Path(sys.argv[1])).writing("model", {}) as path:
    (path / "half").write_text("half")
    os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", program, str(artifacts.root)]
    assert subprocess.run(command, check=False).returncode == -9
    assert artifacts.find("model", {}) is None
    assert list(artifacts.keys()) == []
    (left,) = left_over(artifacts)
    with artifacts.writing("model", {}):
        assert left in left_over(artifacts)  # somebody may be at it still
    artifacts.remove(artifacts.key("model", {}))
    long_ago = time.time() - ABANDONED - 60
    os.utime(artifacts.root / "model" / left, (long_ago, long_ago))
    with artifacts.writing("model", {}):
        assert left not in left_over(artifacts)


def test_scratch_is_kept_until_it_is_forgotten(artifacts: Artifacts) -> None:
    folder = artifacts.scratch("student", INPUTS)
    (folder / "checkpoint").write_text("1")
    assert artifacts.scratch("student", INPUTS) == folder
    assert list(artifacts.keys()) == []
    artifacts.forget_scratch("student", INPUTS)
    assert not folder.exists()
