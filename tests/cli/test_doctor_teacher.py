"""`recsys doctor`: the Ollama server is looked at, and a teacher's noise is measured and kept."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.ollama.backend import OllamaBackend
from recommender.config import resolve
from recommender.models import register
from recommender.server_health import check_server
from storage.store import Store
from tests.cli import shop
from tests.cli.conftest import Run
from tests.ollama.faults import Fault
from tests.ollama.serving import Serving
from tests.tiny import open_llama


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


@pytest.fixture
def server(model: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """A server at the address that the settings name."""
    with Serving(model, slots=2) as serving:
        monkeypatch.setenv("OLLAMA_HOST", serving.url)
        yield serving


def line_of(out: str, name: str) -> list[str]:
    """Return the cells of the one line about a thing."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"{name}  ")]
    return re.split(r"\s{2,}", line)


def test_a_server_that_answers_is_good(run: Run, home: Path, server: Serving) -> None:
    server.add("qwen3:8b")
    done = run("doctor")
    assert done.code == 0
    assert line_of(done.out, "ollama")[1:] == ["good", f"0.32.15 at {server.url}, models: 2"]
    assert "ollama" not in done.err


def test_nobody_at_the_address_is_no_harm_and_says_what_needs_no_server(
    run: Run, home: Path
) -> None:
    done = run("doctor")
    assert done.code == 0
    assert line_of(done.out, "ollama")[1] == "absent"
    assert "teacher 'embedded' needs no server" in done.out
    assert "ollama: absent; next: ollama serve" in done.err


def test_a_teacher_of_a_server_needs_one(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_TEACHER", "llama3.1:8b")
    done = run("doctor")
    assert done.code == 1
    assert line_of(done.out, "ollama")[1] == "bad"
    assert "teacher 'llama3.1:8b' needs it" in done.out
    assert "ollama: bad; next: ollama serve" in done.err


def test_a_teacher_that_is_not_pulled_is_named_with_how_to_get_it(
    run: Run, home: Path, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_TEACHER", "qwen3:8b")
    done = run("doctor")
    assert done.code == 1
    assert line_of(done.out, "ollama")[1] == "bad"
    assert "ollama pull qwen3:8b" in done.err
    monkeypatch.setenv("RECSYS_TEACHER", "ollama:tiny")
    done = run("doctor")
    assert done.code == 0
    assert "models: 1, among them 'tiny'" in done.out


def test_each_host_is_looked_at(run: Run, home: Path, server: Serving) -> None:
    done = run("doctor", "--json", "--host", server.url, "--host", "127.0.0.1:9")
    states = [one["state"] for one in json.loads(done.out) if one["name"] == "ollama"]
    assert states == ["good", "absent"]


def test_a_teacher_that_nothing_is_called_is_bad(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_TEACHER", "embeded")
    done = run("doctor")
    assert done.code == 1
    assert "did you mean 'embedded'?" in done.out


def test_a_proxy_in_the_way_is_said(run: Run, home: Path, server: Serving) -> None:
    server.fault = Fault.HTML_PROXY
    done = run("doctor")
    assert done.code == 0
    assert "something else than Ollama answers" in done.out
    assert "set NO_PROXY" in done.err


def test_a_host_that_is_no_address_is_bad(run: Run, home: Path) -> None:
    done = run("doctor", "--host", "a b")
    assert done.code == 1
    assert "'a b' is no address of a server" in done.out


def test_who_listens_and_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.server_health.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        check = check_server(f"127.0.0.1:{silent.getsockname()[1]}")
    assert time.monotonic() - started < 2
    assert (check.state, check.next_step) == (
        "absent",
        "ollama serve, or --teacher embedded, which needs no server",
    )


def test_help_of_doctor_asks_nobody() -> None:
    code = (
        "import sys, tui.cli\n"
        "try: tui.cli.main(['doctor', '--help'])\n"
        "except SystemExit as stop: assert stop.code in (0, None), stop.code\n"
        "assert not {'torch', 'httpx', 'ollama', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--teacher MODEL" in done.stdout


# The measurement.


def test_a_served_teacher_is_measured_printed_and_kept(
    run: Run, home: Path, server: Serving
) -> None:
    done = run("doctor", "--teacher", "ollama:tiny", "--num-ctx", "2048")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == (
        "ollama:tiny, ollama 0.32.15: 8 questions about built-in titles, 10 candidates each; "
        "log-probabilities in nats"
    )
    assert lines[1].split("  ")[0] == "condition"
    pairs = []
    for condition in ("cold", "repeated", "in company", "any two"):
        *cells, compared = line_of(done.out, condition)[1:]
        assert cells == ["0.000", "0.000", "0 of 8"]
        pairs.append(int(compared))
    # So small a model names letters in some of the answers only: 3, 3, 6 and 15 pairs of each.
    assert pairs[0] % 3 == 0 < pairs[0] <= 24
    assert pairs == [pairs[0], pairs[0], 2 * pairs[0], 5 * pairs[0]]
    shares = [float(line_of(done.out, letter)[1]) for letter in "ABCDEFGHIJ"]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    assert re.search(r"^letters named: \d+% of 10, \d+% of 20; \d+% of the", done.out, re.M)
    assert lines[-1] == "the same question always got the same answer: any difference counts"
    assert "noise of tiny:latest: done in" in done.err
    backend = OllamaBackend.open("tiny", host=server.url, num_ctx=2048)
    card = backend.describe()
    backend.close()
    settings = resolve().settings
    with Store.open(settings.db, settings.artifacts) as store:
        kept = store.noise.latest(card.key, card.options)
    assert kept is not None
    assert (kept.server, kept.comparisons) == ("ollama 0.32.15", pairs[-1])


def test_a_teacher_in_this_process_is_measured_on_a_category(
    run: Run, home: Path, llama: Path
) -> None:
    shop.build(home)
    register(home / "models", "mine", str(llama))
    done = run("doctor", "--teacher", "mine", "--category", shop.NAME, "--device", "cpu")
    assert done.code == 0
    title = f"mine, in this process: 8 questions about {shop.NAME}, 10 candidates each"
    assert done.out.startswith(title)
    assert "in company" not in done.out
    assert "letters named: 100% of 10;" in done.out  # 16 items are too few for 20


def test_the_measurement_as_json(run: Run, home: Path, llama: Path) -> None:
    register(home / "models", "mine", str(llama))
    found = json.loads(run("doctor", "--teacher", "mine", "--json", "--device", "cpu").out)
    assert found["floor"]["floor"] == 0.0
    assert [one["condition"] for one in found["report"]["conditions"]] == [
        "cold",
        "repeated",
        "any two",
    ]
    assert set(found["report"]["coverage"]) == {"10", "20"}


def test_a_floor_is_said_as_what_no_smaller_difference_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from recommender.backends import Scores, example_card
    from recommender.noise.measuring import NoiseMeasured, _floor, report_of
    from tests.recommender.noise.test_noise import MOMENT
    from tui.cli.doctor import show_noise

    warm, cold = Scores((-1.0, -2.0), (1, 1), outside=0.5), Scores((-1.125, -2.0), (1, 1))
    report = report_of([(0, "cold", cold), (0, "repeated", warm), (0, "repeated", warm)])
    floor = _floor(example_card("letters"), MOMENT, report)
    floor.details.update(about="pens", candidates=2)  # type: ignore[attr-defined]
    show_noise(NoiseMeasured(floor, report), "mine")
    out = capsys.readouterr().out
    assert line_of(out, "any two")[1:] == ["0.125", "0.000", "0 of 1", "3"]
    assert out.endswith("no difference under 0.125 nats is shown as a preference\n")


def test_a_category_goes_with_a_teacher(run: Run, home: Path) -> None:
    done = run("doctor", "--category", "Books")
    assert done.code == 2
    assert "goes with --teacher" in done.err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--teacher", "llama3.1:8b"), "no Ollama server answers"),
        (("--teacher", "embeded"), "did you mean 'embedded'?"),
        (("--teacher", "llama3.1:8b", "--category", "Books"), "no category 'Books'"),
    ],
)
def test_a_teacher_that_cannot_be_measured_is_one_sentence(
    run: Run, home: Path, arguments: tuple[str, ...], what: str
) -> None:
    done = run("doctor", *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert what in done.err
    assert len(done.err.splitlines()) == 1
