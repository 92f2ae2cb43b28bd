from __future__ import annotations

from pathlib import Path

import pytest

from distill.methods import METHODS, RANKED_METHODS, TEXT_METHODS
from distill.studies.files import FOLDER, read_study, studies
from recommender.config import resolve
from storage.errors import BadSetting

PLAIN = """
question: which?
data: [shop]
seeds: [0, 1]
base: {method: none, student: {epochs: 2}, loss: {task: 2.0}}
arms:
  none: {}
  uniform: {method: uniform}
against: [none]
quick: {seeds: [0], base: {student: {epochs: 1}}}
beyond:
  linear: {method: linear}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", studies())
def test_every_study_that_comes_with_us_can_be_read(name: str) -> None:
    whole, small = read_study(name, every=True), read_study(name, quick=True)
    assert set(small.arms) <= set(whole.arms)
    assert len(small.seeds) == 1
    for arm in whole.arms:
        assert whole.config(whole.data[0], arm=arm).category == whole.data[0]


@pytest.mark.parametrize(
    ("base", "arms"),
    [
        ("method: none, language: {layers: 6}", "{method: layerdrop}"),
        ("method: none, language: {layers: 6}", "{method: uniform}"),
        ("method: fisher-ld", "{method: taylor}"),
        ("method: fisher-ld", "{loss: {depth_beta: 0.3}}"),
    ],
)
def test_arms_that_differ_are_two(tmp_path: Path, base: str, arms: str) -> None:
    """Regression: what a method changes of a student that reads text was lost in studies."""
    text = PLAIN.replace("method: none, student", f"{base}, student")
    study = read_study(written(tmp_path, text.replace("{method: uniform}", arms)))
    assert study.config("shop", arm="none") != study.config("shop", arm="uniform")
    made = study.config("shop", arm="uniform")
    assert made.language is None or made.language.layerdrop == 0.2 * (made.method == "layerdrop")


@pytest.mark.parametrize(
    ("base", "methods"),
    [("student: {}", [*METHODS, *RANKED_METHODS]), ("language: {layers: 6}", [*TEXT_METHODS])],
)
def test_no_two_methods_are_the_same(tmp_path: Path, base: str, methods: list[str]) -> None:
    """Each changes something of what is learned, in the way that files and flags set it."""
    arms = "".join(f"\n  {name}: {{method: {name}}}" for name in methods)
    text = f"question: which?\ndata: [shop]\nbase: {{{base}}}\narms:{arms}\n"
    assert set(read_study(written(tmp_path, text)).arms) == set(methods)


@pytest.mark.parametrize("field", ["max_tokens: 64", "validation: 9", "test_requests: 9"])
def test_what_all_students_read_and_are_asked_is_the_bases(tmp_path: Path, field: str) -> None:
    """Regression: an arm's own was taken, made no difference, and was shown as an arm."""
    text = PLAIN.replace("student: {epochs: 2}", "language: {layers: 6}")
    text = text.replace("{method: uniform}", f"{{language: {{{field}}}}}")
    name = field.split(":")[0]
    with pytest.raises(BadSetting, match=rf"arms.uniform: language\.{name} is the base's"):
        read_study(written(tmp_path, text))


def test_a_method_of_ones_own_is_found_beside_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studied_presets.py").write_text(
        "from distill.matches import Match\n\n\n"
        "def last(setting):\n"
        "    return [Match(setting.teacher_layers, setting.student_layers)]\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    path = written(tmp_path, PLAIN.replace("{method: uniform}", "{method: 'studied_presets:last'}"))
    (tmp_path / "recsys.toml").write_text("")
    settings = resolve(environ={"RECSYS_CONFIG": str(tmp_path / "recsys.toml")}).settings
    study = read_study(path, settings=settings)
    assert study.config("shop", arm="uniform").method == "studied_presets:last"


def test_studies_are_those_in_the_folder() -> None:
    assert studies() == tuple(sorted(one.stem for one in FOLDER.glob("*.yaml")))


def test_an_arm_is_the_base_with_other_values_and_its_method_is_not_put_upon_the_base(
    tmp_path: Path,
) -> None:
    study = read_study(written(tmp_path, PLAIN))
    base, arm = study.config("shop"), study.config("shop", 1, "uniform")
    assert (base.loss.output, base.loss.layer) == (0.0, 0.0)
    assert arm.loss.output > 0
    assert arm.loss.layer > 0
    assert (arm.loss.task, arm.student.epochs, arm.seed) == (2.0, 2, 1)


def test_quick_and_all(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    quick = read_study(path, quick=True)
    assert quick.seeds == (0,)
    assert quick.config("shop").student.epochs == 1
    assert "linear" not in quick.arms
    assert "linear" in read_study(path, every=True).arms


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("against: [none]", "against: [nome]"), "against: no arm 'nome'; did you mean 'none'?"),
        (("question:", "qestion:"), "no field 'qestion' in a study; did you mean 'question'?"),
        (("{method: uniform}", "{method: unifrom}"), "arms.uniform: no method 'unifrom'"),
        (("{method: uniform}", "{seed: 3}"), "arms.uniform: seed is the base's"),
        (("{method: uniform}", "{teacher: {}}"), "arms.uniform: teacher is the base's"),
        (("{method: uniform}", "{max_users: 9}"), "arms.uniform: max_users is the base's"),
        (("{method: uniform}", "{loss: {criterion: tailor}}"), "did you mean 'taylor'"),
        (("seeds: [0, 1]", "metric: best@3"), "metric: no metric 'best@3': there are"),
        (("{method: uniform}", "{minutes: 9}"), "arms.uniform: minutes changes nothing"),
        (("{method: uniform}", "{final: false}"), "arms.uniform: final changes nothing"),
        (("{method: uniform}", "{method: tinybert}"), "compares token by token"),
        (("{method: uniform}", "{language: {}}"), "students of one family"),
        (("seeds: [0, 1]", "seeds: [1, 1]"), "seeds: one is named twice"),
        (("seeds: [0, 1]", "seeds: []"), "seeds: list should have at least 1 item"),
        (("  uniform: {method: uniform}\n", ""), "arms: dictionary should have at least 2 items"),
        (("{method: uniform}", "{method: none}"), "nothing in it differs from arms.none"),
        (("none: {}", "none: {method: uniform, seed: }"), "seed is the base's"),
        (("epochs: 2", "epoch: 2"), "no field 'student.epoch' in a distillation; did you"),
    ],
)
def test_what_cannot_be_studied_is_one_sentence(
    tmp_path: Path, change: tuple[str, str], what: str
) -> None:
    with pytest.raises(BadSetting) as error:
        read_study(written(tmp_path, PLAIN.replace(*change)))
    assert what in str(error.value)
    assert str(error.value).startswith("mine.yaml: ")


def test_a_study_that_is_not_there() -> None:
    with pytest.raises(BadSetting, match="no study 'nowhere': neither a file nor one that comes"):
        read_study("nowhere")
