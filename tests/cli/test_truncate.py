"""`recsys truncate`: layers taken out of a GGUF file by one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.exporting.gguf_head import read_head
from recommender.backends.weights import find_weights, weights_digest
from storage.records import LayerProfile
from storage.store import Store
from tests.cli.conftest import Run
from tests.cli.shop import build
from tests.distill.exporting.llamas import save, write_file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return write_file(save(folder / "a", layers=6), folder / "whole.gguf", "q8_0")


def test_a_rule_and_where_it_goes(run: Run, whole: Path) -> None:
    done = run("truncate", str(whole))
    assert done.code == 0, done.err
    assert done.out.startswith("whole-3of6.gguf: layers 0, 3, 5 of 6\n")
    assert "M parameters of" in done.out
    assert done.err.rstrip().endswith("next: recsys export whole-3of6.gguf --to ollama my-student")
    assert read_head(Path("whole-3of6.gguf")).layers == 3


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        (("--keep", "first", "--layers", "2"), [0, 1]),
        (("--keep", "last", "--cut", "0.5"), [3, 4, 5]),
        (("--keep", "top-bottom", "--layers", "2"), [0, 5]),
        (("--keep", "0,1,4"), [0, 1, 4]),
        (("--keep", "uniform", "--cut", "0.9"), [0]),
    ],
)
def test_what_is_kept(run: Run, whole: Path, more: tuple[str, ...], kept: list[int]) -> None:
    done = run("truncate", str(whole), "cut.gguf", "--json", *more)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["kept"], found["layers"]) == (kept, 6)
    assert found["size"] == Path("cut.gguf").stat().st_size


def test_what_was_measured_decides(run: Run, whole: Path, home: Path) -> None:
    home.mkdir()
    build(home)
    key = f"whole@{weights_digest(find_weights(whole))}/float32"
    with Store.open(str(home / "recsys.sqlite"), home / "artifacts") as store:
        one = store.catalogue.categories()[0]
        worth = (0.1, 5.0, 0.2, 4.0, 0.3, 3.0)
        # The random twin of these very weights was measured beside them, and names them.
        for weights, layers in (
            ("other@sha256:1/float32", worth[::-1]),
            (f"{key} random-init 0", worth[::-1]),
            (key, worth),
            (f"{key} random-init 1", worth[::-1]),
        ):
            bounds = layers, layers, layers
            store.runs.add_profile(
                LayerProfile(weights, one.id, weights, "taylor-listwise", 9, *bounds, "")
            )
    asked = ("truncate", str(whole), "cut.gguf", "--json", "--category", one.name, "--keep")
    done = run(*asked, "taylor")
    assert done.code == 0, done.err
    assert json.loads(done.out)["kept"] == [1, 3, 5]
    for more, said in (
        ((*asked, "fisher-empirical"), "was not measured on 'Tiny shop' with whole"),
        (("truncate", str(whole), "--keep", "taylor"), "'taylor' was measured on some category"),
        ((*asked, "first"), "--category says where a criterion was measured"),
    ):
        wrong = run(*more, "--force") if "--json" in more else run(*more)
        assert wrong.code == 1
        assert said in wrong.err


def test_chance_is_the_seeds(run: Run, whole: Path) -> None:
    arguments = ("truncate", str(whole), "cut.gguf", "--force", "--json", "--keep", "random")
    found = [json.loads(run(*arguments, "--seed", seed).out)["kept"] for seed in ("1", "1", "2")]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--keep", "unifrom"), "no rule 'unifrom' for what a cut keeps; did you mean 'uniform'?"),
        (("--keep", "0,6"), "layer 6 cannot be kept: there are 0 to 5"),
        (("--keep", "1,1"), "a layer is named twice"),
        (("--cut", "1"), "a cut takes away a share between 0 and 1"),
        (("--keep", "0,1", "--cut", "0.5"), "--keep names the layers"),
        (("--layers", "2", "--cut", "0.5"), "one of them"),
        (("--layers", "7"), "7"),
    ],
)
def test_wrong_wishes_are_one_line(run: Run, whole: Path, more: tuple[str, ...], said: str) -> None:
    done = run("truncate", str(whole), "cut.gguf", *more)
    assert done.code == 1
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("cut.gguf").exists()


def test_wrong_files_are_one_line(run: Run, whole: Path, tmp_path: Path) -> None:
    Path("notes.txt").write_text("a list")
    Path("half.gguf").write_bytes(whole.read_bytes()[:5000])
    Path("mine.gguf").write_text("mine")
    for arguments, said in (
        (("notes.txt", "a.gguf"), "'notes.txt' is not a GGUF file"),
        (("half.gguf", "a.gguf"), "is damaged: it ends"),
        (("absent.gguf", "a.gguf"), "there is no file 'absent.gguf'"),
        ((str(whole), "mine.gguf"), "'mine.gguf' is there already; next: --force to replace it"),
        ((str(whole), "no/such/a.gguf"), "there is no folder 'no/such' to write 'a.gguf' into"),
        ((str(whole), "/proc/a.gguf"), "'/proc/a.gguf'"),
    ):
        done = run("truncate", *arguments)
        assert done.code == 1, arguments
        last = done.err.splitlines()[-1]
        assert last.startswith("error: ")
        assert said in last
        assert "Traceback" not in done.err
    assert Path("mine.gguf").read_text() == "mine"
