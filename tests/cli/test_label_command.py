"""`recsys label` and `recsys labels`, end to end: a real small Llama behind the Ollama protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.ollama.faults import Fault
from tests.ollama.serving import Serving
from tests.tiny import SHOP, add_shop, open_llama, spell

pytestmark = pytest.mark.models


@pytest.fixture
def server(llama: Path) -> Iterator[Serving]:
    with Serving(spell(open_llama(llama)), slots=4) as serving:
        serving.repeats = 10_000
        yield serving


@pytest.fixture
def shop(home: Path, models: Path) -> Path:
    """A data folder with the shop and the embedded models."""
    from storage.store import Store

    home.mkdir(exist_ok=True)
    (home / "models").symlink_to(models)
    with Store.open(home / "recsys.sqlite", home / "artifacts") as store:
        add_shop(store)
    return home


def label(run: Run, server: Serving, *more: str) -> tuple[int, str, str]:
    done = run(
        *("label", "--category", SHOP, "--teacher", "tiny:latest", "--host", server.url),
        *("--requests", "6", "--candidates", "5", "--orders", "2", *more),
    )
    return done.code, done.out, done.err


def test_a_teacher_is_asked_once_compared_and_its_labels_travel(
    run: Run, shop: Path, server: Serving, tmp_path: Path
) -> None:
    code, out, err = label(run, server)
    assert code == 0, err
    asked = len(server.asked("/api/generate"))
    for word in ("tiny:latest", "popularity", "chance", "position bias", "calibration error"):
        assert word in out
    assert f"next: recsys distill --category {SHOP} --teacher tiny:latest" in err
    assert "teacher tiny:latest: llama" in err

    code, again, _ = label(run, server, "--json")
    assert code == 0
    assert len(server.asked("/api/generate")) - asked <= 1  # the probe of another opening
    found = json.loads(again)
    (row,) = found["teachers"]
    assert sum(n for _, n in row["statuses"]) > 12
    assert row["orders"] == 2

    stats = run("labels", "stats", "--category", SHOP)
    assert stats.code == 0
    assert "letters" in stats.out
    file = tmp_path / "labels.jsonl"
    written = run("labels", "export", "--category", SHOP, "--to", str(file))
    assert written.code == 0
    lines = file.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["recsys_labels"] == 1
    read = run("labels", "import", str(file), "--category", SHOP, "--json")
    assert json.loads(read.out)["known"] == len(lines) - 1
    assert json.loads(read.out)["added"] == 0
    piped = run("labels", "export", "--category", SHOP)
    assert piped.out.splitlines() == lines


def test_a_model_is_pulled_where_that_is_said(run: Run, shop: Path, server: Serving) -> None:
    server.pulled = []
    code, _, err = label(run, server)
    assert code == 1
    assert "does not have 'tiny:latest'; next: ollama pull tiny:latest" in err
    code, _, err = label(run, server, "--pull")
    assert code == 0, err
    assert "pull tiny:latest: done" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--concurrency", "many"), "neither 'auto' nor a number"),
        (("--concurrency", "0"), "neither 'auto' nor a number"),
        (("--item-fields", "colour"), "no field 'colour'"),
        (("--teacher-mode", "likelihood"), "cannot be asked by likelihood"),
        (("--candidates", "30", "--teacher-mode", "letters"), "too many for letters"),
        (("--num-ctx", "256", "--item-fields", "brand"), ""),
    ],
)
def test_what_cannot_be_is_a_sentence(
    run: Run, shop: Path, server: Serving, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = label(run, server, *arguments)
    if said:
        assert code == 1
        assert said in err
    assert "Traceback" not in err
    assert err.count("error:") == (1 if said else err.count("error:"))


def test_no_server_names_the_embedded_teacher(run: Run, shop: Path) -> None:
    done = run("label", "--category", SHOP, "--teacher", "llama3.1:8b")
    assert done.code == 1
    assert "no Ollama server answers at http://127.0.0.1:9" in done.err
    assert "--teacher embedded" in done.err


def test_a_server_that_fails_all_the_time_ends_in_a_sentence(
    run: Run, shop: Path, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recommender.asking import patience

    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.01)
    assert label(run, server)[0] == 0
    server.digest = "ef" * 32
    server.fault, server.fault_times = Fault.OUT_OF_MEMORY, None
    code, _, err = label(run, server)
    assert code == 1
    assert "does not fit into the memory" in err


def test_two_hosts_share_the_work(run: Run, shop: Path, server: Serving, llama: Path) -> None:
    with Serving(spell(open_llama(llama)), slots=4) as other:
        other.repeats = 10_000
        code, _, err = label(run, server, "--host", other.url, "--concurrency", "2")
        assert code == 0, err
        assert min(len(s.asked("/api/generate")) for s in (server, other)) > 5
