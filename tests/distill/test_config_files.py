"""YAML configurations: what they change, in which order, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.config import DistilConfig, check
from distill.config_files import configured_by, overridden, published, read_yaml
from storage.errors import BadSetting

PLAIN = DistilConfig("Books", seed=3)


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", published())
def test_published_settings_can_be_run(name: str) -> None:
    made = configured_by(PLAIN, name)
    check(made)
    assert (made.category, made.seed) == ("Books", 3)
    assert DistilConfig.from_dict(made.as_dict()) == made


def test_equation_7_is_the_method_of_that_name() -> None:
    made = configured_by(PLAIN, "fisher-ld-as-published")
    assert made == overridden(
        PLAIN, {"method": "fisher-ld-as-published", "loss": {"depth_beta": 0.3}}
    )


def test_a_method_comes_first_whatever_the_order(tmp_path: Path) -> None:
    path = written(tmp_path, "loss: {layer: 0.5}\nmethod: logits-only\n")
    made = configured_by(PLAIN, path)
    assert (made.method, made.loss.layer, made.teacher.weights) == ("logits-only", 0.5, "none")


def test_what_is_not_said_stays() -> None:
    made = overridden(PLAIN.with_loss(task=2.0), {"student": {"network": {"blocks": 4}}})
    assert (made.loss.task, made.student.network.blocks, made.student.network.width) == (2.0, 4, 64)
    assert overridden(PLAIN, {}) == PLAIN


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("methd: uniform", "did you mean 'method'"),
        ("loss: {layr: 1}", "no field 'loss.layr' in a distillation; did you mean 'layer'"),
        ("student: {network: {block: 4}}", "did you mean 'blocks'"),
        ("method: fischer-ld", "did you mean 'fisher-ld'"),
        ("method: [a]", "is no name"),
        ("loss: {task: many}", "loss.task = 'many'"),
        ("loss: {task: -1}", "below 0"),
        ("loss: 3", "loss = 3"),
        ("student: {epochs: true}", "student.epochs = True: it is not a matter of yes or no"),
        ("seed: 1\nseed: 2", "'seed' is said twice"),
        ("- a\n- b", "does not hold names with values"),
        ("1: a", "does not hold names with values"),
        ("{", "is no YAML"),
        ("!!python/object:os.system {}", "is no YAML"),
    ],
)
def test_what_cannot_be_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadSetting) as caught:
        configured_by(PLAIN, written(tmp_path, text))
    assert says in caught.value.what
    assert caught.value.what.startswith("run.yaml: ") or "run.yaml" in caught.value.what


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        BadSetting, match=r"neither a file nor one that comes with us; did you mean 'fisher-ld'"
    ):
        configured_by(PLAIN, "fischer")
    with pytest.raises(BadSetting, match="neither a file"):
        configured_by(PLAIN, tmp_path)
    bad = tmp_path / "bytes.yaml"
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match="cannot be read"):
        read_yaml(bad)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 1_000_001)
    with pytest.raises(BadSetting, match="too large"):
        read_yaml(large)
    with pytest.raises(BadSetting, match="says nothing"):
        read_yaml(written(tmp_path, "# nothing\n"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[" * 3000, "is nested too deeply"),
        ("", "says nothing"),
        ("requests: 5", "no field 'requests' in a distillation: it is teacher.requests"),
        ("student: {learning_rate: .nan}", "learning_rate = nan is out of its range: above 0"),
        ("language: {lora_rank: 100000}", "at most 512"),
    ],
)
def test_what_would_end_badly_is_one_sentence(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(BadSetting) as error:
        configured_by(PLAIN, written(tmp_path, text))
    assert what in str(error.value)
    assert len(str(error.value)) < 2000
