"""The fault matrix: what each failure of a server comes to, in one answer and in a bulk job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from recommender.asking import patience
from recommender.asking.answering import Texts, address
from recommender.asking.labelling import Labelled, label
from recommender.asking.requests import Question
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.errors import (
    BackendError,
    Busy,
    Cut,
    Died,
    Lost,
    OutOfMemory,
    Refused,
    TooSlow,
)
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.client import OllamaClient
from storage.records import LabelRequest
from storage.store import Store
from tests.ollama.faults import Fault
from tests.ollama.serving import Serving
from tests.tiny import add_shop, open_llama, spell

PROMPT = Prompt(("Pocket radio",), ("Pen", "Tape", "Lamp"), "products")


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


@pytest.fixture(params=["0.24.0", "0.32.15"])
def server(model: EmbeddedBackend, request: pytest.FixtureRequest) -> Iterator[Serving]:
    with Serving(model, version=request.param, slots=2) as serving:
        serving.stall_seconds = 4.0
        yield serving


@pytest.fixture
def backend(server: Serving) -> Iterator[OllamaBackend]:
    client = OllamaClient(server.url, answer_seconds=2.0)
    opened = OllamaBackend.open(server.name, client=client, num_ctx=384)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for hundredths of a second where seconds are usual."""
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.02)


def requests(
    store: Store, backend: OllamaBackend, count: int = 4
) -> tuple[list[LabelRequest], Texts]:
    shop = store.catalogue.categories() or [add_shop(store, people=4)]
    texts = Texts(store.catalogue.item_titles(shop[0].id), "products", 3)
    questions = [Question(n, n, (n, n + 1), tuple(range(10 + n, 14 + n)), 1) for n in range(count)]
    asked = address(
        questions, texts, category_id=shop[0].id, purpose="train",
        teacher=backend.describe(), method="letters", orders=2,
    )  # fmt: skip
    return asked, texts


def run(store: Store, backend: OllamaBackend, count: int = 4) -> Labelled:
    asked, texts = requests(store, backend, count)
    *_, last = label(backend, asked, texts, store.labels, stage="t", in_flight=2)
    assert isinstance(last, Labelled)
    return last


RAISED = {
    Fault.BUSY_503: Busy,
    Fault.CRASH_500: Died,
    Fault.OUT_OF_MEMORY: OutOfMemory,
    Fault.HALF_JSON: (Lost, Cut),
    Fault.NOT_DONE: Cut,
    Fault.STALL: TooSlow,
}


@pytest.mark.parametrize("fault", RAISED, ids=lambda fault: fault.name)
def test_one_answer_that_fails_is_an_error_of_its_kind(
    server: Serving, backend: OllamaBackend, fault: Fault
) -> None:
    server.fault, server.fault_times = fault, 1
    with pytest.raises(RAISED[fault]):
        backend.score(PROMPT, "ABC")
    assert backend.score(PROMPT, "ABC").status == ""  # and the next one works again


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.END_FIRST, "declined"),
        (Fault.SILENT_CUT, "truncated"),
    ],
    ids=lambda one: getattr(one, "name", one),
)
def test_an_answer_that_is_none_is_kept_as_what_it_is(
    server: Serving, backend: OllamaBackend, store: Store, fault: Fault, status: str
) -> None:
    server.fault = fault
    done = run(store, backend)
    assert (done.asked, done.failed) == (8, 0)
    asked, _ = requests(store, backend)
    kept = store.labels.get([r.key for r in asked])
    assert Counter(answer.status for answer in kept.values()) == {status: 8}
    before = len(server.seen)
    server.fault = None
    assert run(store, backend).asked == 0  # it is an answer: nobody asks again
    assert len(server.seen) == before


@pytest.mark.parametrize("fault", [Fault.NO_LOGPROBS, Fault.EMPTY_LOGPROBS], ids=lambda f: f.name)
def test_log_probabilities_that_stay_away_are_asked_for_again(
    llama: Path, store: Store, fault: Fault
) -> None:
    with (
        Serving(spell(open_llama(llama)), slots=2) as server,
        closing(OllamaBackend.open(server.name, host=server.url, num_ctx=384)) as backend,
    ):
        server.fault = fault
        with pytest.raises(Cut, match="left the log-probabilities of an answer out"):
            backend.score(PROMPT, "ABC")
        server.fault_times = 3
        assert (run(store, backend).asked, server.fault) == (8, None)
        kept = store.labels.get([r.key for r in requests(store, backend)[0]])
        assert {answer.status for answer in kept.values()} <= {"ok", "declined"}


@pytest.mark.parametrize(
    "fault",
    [Fault.BUSY_503, Fault.CRASH_500, Fault.HALF_JSON, Fault.NOT_DONE],
    ids=lambda fault: fault.name,
)
def test_what_may_pass_is_asked_again_within_one_run(
    server: Serving, backend: OllamaBackend, store: Store, fault: Fault
) -> None:
    server.fault, server.fault_times = fault, 3
    done = run(store, backend)
    assert (done.asked, done.failed) == (8, 0)
    asked, _ = requests(store, backend)
    assert len(store.labels.get([r.key for r in asked])) == 8
    assert not any(store.labels.failures([r.key for r in asked]).values())


def test_a_stall_is_waited_for_only_so_long_and_asked_again(
    server: Serving, backend: OllamaBackend, store: Store
) -> None:
    server.fault, server.fault_times = Fault.STALL, 2
    assert run(store, backend).asked == 8


def test_out_of_memory_ends_the_job_at_once_with_the_next_command(
    server: Serving, backend: OllamaBackend, store: Store
) -> None:
    server.fault = Fault.OUT_OF_MEMORY
    before = len(server.asked("/api/generate"))
    with pytest.raises(OutOfMemory, match="does not fit into the memory") as failed:
        run(store, backend)
    assert "--num-ctx" in failed.value.next_step
    assert len(server.asked("/api/generate")) - before <= 4  # nobody asks six times for that


def test_a_server_that_stays_away_ends_the_job_and_keeps_what_came(
    server: Serving, backend: OllamaBackend, store: Store
) -> None:
    asked, texts = requests(store, backend)
    first = label(backend, asked[:4], texts, store.labels, stage="t", in_flight=2)
    list(first)
    server.fault = Fault.BUSY_503
    with pytest.raises(BackendError, match="every answer so far is kept") as failed:
        run(store, backend, 8)
    assert "same command" in failed.value.next_step
    server.fault = None
    done = run(store, backend, 8)
    assert (done.asked, done.known) == (12, 4)


def test_the_last_questions_that_bring_nothing_are_failures_and_asked_again_next_time(
    server: Serving, backend: OllamaBackend, store: Store
) -> None:
    asked, _ = requests(store, backend, 1)
    server.fault = Fault.NOT_DONE
    with pytest.raises(Refused, match="none of 2 requests was answered: the answer of"):
        run(store, backend, 1)
    kept = store.labels.failures([r.key for r in asked])
    assert [f.status for some in kept.values() for f in some] == ["error", "error"]
    server.fault = None
    assert run(store, backend, 1).asked == 2
    server.fault = Fault.NOT_DONE
    done = run(store, backend, 2)  # of which two are known
    assert (done.asked, done.failed, done.known) == (0, 2, 2)


def test_another_build_behind_the_name_is_another_teacher(
    server: Serving, backend: OllamaBackend, store: Store
) -> None:
    run(store, backend)
    server.digest = "cd" * 32
    rebuilt = OllamaBackend.open(server.name, host=server.url)
    done = run(store, rebuilt)
    assert (done.asked, done.known) == (8, 0)
    teachers = {one.teacher for one in store.labels.statistics(1)}
    assert teachers == {backend.describe().key, rebuilt.describe().key}
    rebuilt.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault.DIES_MID_STREAM, Died), (Fault.CUT_STREAM, (Lost, Cut))],
    ids=lambda one: getattr(one, "name", ""),
)
def test_a_stream_that_breaks_gives_what_came_and_then_its_error(
    server: Serving, backend: OllamaBackend, fault: Fault, kind: type[BackendError]
) -> None:
    server.fault = fault
    pieces: list[str] = []
    with pytest.raises(kind):
        pieces.extend(iter(backend.stream("Tell a story.", limit=20)))
    assert pieces


def test_a_stream_that_is_closed_stops_the_model(server: Serving, backend: OllamaBackend) -> None:
    stream = backend.stream("Tell a story.", limit=200)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert backend.score(PROMPT, "ABC").status == ""


def test_a_repeated_letter_is_mended_and_marked(server: Serving, backend: OllamaBackend) -> None:
    from recommender.asking.answering import ask_ranking

    server.fault = Fault.REPEATED_LETTER
    scores = ask_ranking(backend, PROMPT, "ABC")
    assert scores.status == ""
    repaired = scores.details["repaired"]
    assert isinstance(repaired, list)
    assert any("came again" in word for word in repaired)
    assert any("was left out" in word for word in repaired)
    assert len(scores.logprobs) == 3
