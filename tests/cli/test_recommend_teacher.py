"""`recsys recommend` by a served teacher: reasons as they come, ties marked, refusals in words."""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from recommender.api import Recommendation, Recommended
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.client import OllamaClient
from recommender.chat_prompts import harmless, reason_turn
from storage.records import NoiseFloor
from storage.store import Store
from tests.cli import shop
from tests.cli.conftest import Run
from tests.ollama.faults import Fault
from tests.ollama.serving import Serving
from tests.tiny import Letters, open_llama, spell
from tui.cli.recommend import show_answers, show_reason
from tui.text import plain, safe_pieces

BY_TEACHER = ("recommend", "--user", "u1", "--by", "teacher", "--teacher", "ollama:tiny")


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


@pytest.fixture
def server(model: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    with Serving(model, slots=2) as serving:
        monkeypatch.setenv("OLLAMA_HOST", serving.url)
        yield serving


@pytest.fixture
def data(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop, and a text encoder that needs no fetched model."""
    monkeypatch.setattr("recommender.serving.embedded_encoder", lambda models: Letters())
    shop.build(home)
    return home


def clean(text: str) -> bool:
    return not [c for c in text if unicodedata.category(c) in {"Cc", "Cf"} and c != "\n"]


def test_reasons_stand_below_the_table_item_by_item(run: Run, data: Path, server: Serving) -> None:
    done = run(*BY_TEACHER, "--explain", "--top-k", "3", "--num-ctx", "2048")
    assert done.code == 0
    assert clean(done.out)
    lines = done.out.splitlines()
    rows, reasons = lines[2:5], lines[5:]
    assert len(reasons) == 3
    asked = [one for one in server.asked("/api/generate") if one["stream"]]
    assert len(asked) == 3
    with OllamaClient(server.url) as client:
        for place, (row, reason, fields) in enumerate(zip(rows, reasons, asked, strict=True), 1):
            title = reason.partition(": ")[0].removeprefix(f"{place}. ")
            assert title in row
            assert f"This is offered next:\n- {harmless(title)}\n" in fields["prompt"]
            assert fields["options"]["num_predict"] == 60
            said = "".join(str(one["response"]) for one in client.stream("/api/generate", fields))
            whole = ("".join(safe_pieces([text])) for text in (said, f"{said}…"))
            expected = {f"{place}. {title}: {text or '(nothing was written)'}" for text in whole}
            assert reason in expected


def test_the_reason_is_about_the_persons_history(run: Run, data: Path, server: Serving) -> None:
    done = run(
        *("recommend", "--history", "i2; i5", "--category", shop.NAME, "--by", "teacher"),
        *("--teacher", "ollama:tiny", "--explain", "--top-k", "1", "--json"),
    )
    assert done.code == 0
    [answer] = json.loads(done.out)
    [item] = answer["items"]
    [turn] = [one["prompt"] for one in server.asked("/api/generate") if one["stream"]]
    history = Prompt(("Item 02", "Item 05"), noun="tiny shop")
    assert reason_turn(history, item["title"]) in turn
    assert item["reason"] == plain(item["reason"])


def test_without_explain_nothing_is_written(run: Run, data: Path, server: Serving) -> None:
    done = run(*BY_TEACHER, "--json")
    assert done.code == 0
    assert not [one for one in server.asked("/api/generate") if one["stream"]]
    assert "reason" not in json.loads(done.out)[0]["items"][0]


def test_compared_with_others_the_teacher_explains(run: Run, data: Path, server: Serving) -> None:
    shop.add_student(data)
    done = run(
        *("recommend", "--user", "u1", "--compare", "--teacher", "ollama:tiny"),
        *("--explain", "--top-k", "2", "--json"),
    )
    assert done.code == 0
    first, *others = json.loads(done.out)
    assert first["ranker"] == "teacher"
    assert all("reason" in item for item in first["items"])
    assert not [item for other in others for item in other["items"] if "reason" in item]


@pytest.mark.parametrize("ranker", ["student", "student:x", "popularity", "item-knn"])
def test_who_is_no_model_is_refused_before_anything_is_ranked(
    run: Run, data: Path, server: Serving, ranker: str
) -> None:
    done = run("recommend", "--user", "u1", "--by", ranker, "--explain")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error: {ranker!r} is no language model and gives no reasons; next: the same command "
        "with --by teacher --explain\n"
    )
    assert server.seen == []


def test_a_teacher_that_only_compares_is_refused(
    run: Run, data: Path, model: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Serving(model, capabilities=("embedding",), encoder=Letters()) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        done = run(*BY_TEACHER, "--explain")
    assert (done.code, done.out) == (1, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("error: the teacher 'tiny' writes no text and gives no reasons; next: ")
    assert "--by teacher --explain" in last


def test_a_server_that_dies_leaves_what_was_printed(run: Run, data: Path, server: Serving) -> None:
    server.fault = Fault.DIES_MID_STREAM
    done = run(*BY_TEACHER, "--explain", "--top-k", "3")
    assert done.code == 1
    lines = done.out.splitlines()
    assert len(lines) == 2 + 3 + 1
    assert lines[-1].startswith("1. ")
    assert done.out.endswith("\n")
    last = done.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "ended" in last
    assert "Traceback" not in done.err


def test_each_piece_is_flushed_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Pipe(io.StringIO):
        def flush(self) -> None:
            if not seen or seen[-1] != self.getvalue():
                seen.append(self.getvalue())

    monkeypatch.setattr("sys.stdout", Pipe())
    show_reason("1. Pen: ", iter(["It \x1b[2", "Jfits ", "well.", " More"]))
    assert seen == [
        "1. Pen: ",
        "1. Pen: It",
        "1. Pen: It fits",
        "1. Pen: It fits well.",
        "1. Pen: It fits well.\n",
    ]


def test_a_title_without_end_does_not_hide_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    one = Recommendation("teacher", (Recommended(1, "a", "x" * 5000, 2.0),), 0.1)
    show_answers([one], [(one.items[0], iter(["It fits."]))], json=False)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("1. xxx")
    assert last.endswith("…: It fits.")
    assert len(last) < 200


def test_a_model_that_writes_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show_reason("1. Pen: ", iter(["", " \x00"]))
    assert capsys.readouterr().out == "1. Pen: (nothing was written)\n"


def test_what_is_not_told_apart_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    items = (
        Recommended(1, "a", "Pen", 2.0),
        Recommended(2, "b", "Ink", 1.9, tied=True),
        Recommended(3, "c", "", 0.5),
    )
    one = Recommendation("teacher", items, 0.1)
    show_answers([one], json=False)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split() for row in rows] == [
        ["1", "Pen", "a", "2.000"],
        ["2", "~", "Ink", "b", "1.900"],
        ["3", "c", "c", "0.500"],
    ]
    show_answers([one, Recommendation("popularity", items[:1], 0.1)], json=False)
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split() for row in rows] == [["1", "Pen", "Pen"], ["2", "~", "Ink"], ["3", "c"]]


def test_a_measured_floor_marks_what_is_below_it(
    run: Run, data: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Serving(spell(open_llama(llama)), slots=2) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        _floor_is_marked(run, data, server)


def _floor_is_marked(run: Run, data: Path, server: Serving) -> None:
    asked = (*BY_TEACHER, "--teacher-mode", "letters", "--num-ctx", "2048")
    assert "~" not in run(*asked).out
    backend = OllamaBackend.open("tiny", host=server.url, num_ctx=2048)
    card = backend.describe()
    backend.close()
    with Store.open(str(data / "recsys.sqlite"), data / "artifacts") as store:
        store.noise.add(
            NoiseFloor(card.key, card.server, card.options, "2026-11-24", 99.0, 0.1, 0, 1)
        )
    done = run(*asked)
    rows = done.out.splitlines()[2:]
    marked = [row for row in rows if "~ " in row]
    answered = [one for one in rows if not one.startswith("   1")]
    assert marked == answered
    assert "~ marks what is not told apart from the item above" in done.err


def test_the_mode_and_the_context_of_a_teacher_are_flags(
    run: Run, data: Path, server: Serving
) -> None:
    done = run(*BY_TEACHER, "--teacher-mode", "ranking", "--num-ctx", "1024")
    assert done.code == 0
    asked = [one for one in server.asked("/api/generate") if one.get("format")]
    assert len(asked) >= 4
    assert {one["options"]["num_ctx"] for one in asked} == {1024}


def test_a_host_is_a_flag(run: Run, data: Path, server: Serving) -> None:
    done = run(*BY_TEACHER, "--host", "127.0.0.1:9")
    assert done.code == 1
    assert "no Ollama server answers at http://127.0.0.1:9" in done.err
    assert server.seen == []
