"""The served model's faults: as they were asked for, to whom, and as often."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from recommender.backends.embedded import EmbeddedBackend
from tests.ollama.faults import BUSY, CRASH, Fault
from tests.ollama.raw import LOCAL, generated, lines, post, scoring
from tests.ollama.serving import Serving

OLD, NEW = "0.24.0", "0.32.15"
Serve = Callable[..., Serving]


def test_refusing_faults_and_how_often_they_come(serve: Serve) -> None:
    server = serve()
    wordings = {Fault.BUSY_503: (503, BUSY), Fault.CRASH_500: (500, CRASH)}
    for fault, (status, said) in wordings.items():
        server.fault, server.fault_times = fault, 2
        answers = [post(server, "/api/generate", scoring()) for _ in range(3)]
        assert [one.status_code for one in answers] == [status, status, 200]
        assert answers[0].json() == {"error": said}
        assert server.fault is server.fault_times is None
    for version, said in ((OLD, "more system memory"), (NEW, "out-of-memory")):
        server.version, server.fault = version, Fault.OUT_OF_MEMORY
        answer = post(server, "/api/generate", scoring())
        assert (answer.status_code, said in answer.text) == (500, True)
    server.fault = Fault.HTML_PROXY
    page = httpx.get(f"{server.url}/api/version", **LOCAL)
    assert (page.status_code, page.headers["server"]) == (502, "squid/6.6")
    assert page.text.startswith("<!DOCTYPE html>")


def test_faults_in_a_whole_answer(serve: Serve) -> None:
    server = serve()
    good = generated(server)
    server.fault = Fault.NOT_DONE
    found = generated(server)
    assert (found["done"], found["response"]) == (False, good["response"])
    assert not {"done_reason", "total_duration"} & set(found)
    server.fault = Fault.NO_LOGPROBS
    assert "logprobs" not in generated(server)
    server.fault = Fault.EMPTY_LOGPROBS
    assert generated(server)["logprobs"] == []
    server.fault = Fault.END_FIRST
    found = generated(server)
    assert (found["response"], found["done_reason"]) == ("", "stop")
    assert "logprobs" not in found
    server.fault = Fault.SILENT_CUT
    assert generated(server)["prompt_eval_count"] == 1026
    server.fault = Fault.HALF_JSON
    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        generated(server)


def test_faults_in_a_stream(serve: Serve) -> None:
    server = serve()
    server.repeats = 1000
    many = {"options": {"num_predict": 8, "stop": []}}
    server.fault = Fault.DIES_MID_STREAM
    found = lines(server, **many)
    assert [set(one) >= {"response"} for one in found] == [True, True, False]
    assert found[-1] == {"error": CRASH}
    server.fault = Fault.CUT_STREAM
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        lines(server, **many)
    server.fault = Fault.END_FIRST
    (last,) = lines(server, **many)
    assert (last["done"], last["done_reason"], last["response"]) == (True, "stop", "")
    assert server.asked("/api/generate")[-1]["stream"] is True


def test_a_stalled_answer_does_not_outlive_its_client(serve: Serve) -> None:
    server = serve()
    server.fault, server.fault_times = Fault.STALL, 1
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/api/generate", json=scoring(), timeout=0.1, **LOCAL)
    assert generated(server)["done"] is True
    server.fault, server.stall_seconds = Fault.STALL, 0.05
    began = time.perf_counter()
    assert generated(server)["done"] is True
    assert time.perf_counter() - began >= 0.05
    while server.abandoned == 0 and time.perf_counter() - began < 5:
        time.sleep(0.01)
    assert server.abandoned == 1


def test_slots_are_kept_and_counted(serve: Serve) -> None:
    server = serve(slots=2, answer_seconds=0.1)
    began = time.perf_counter()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: generated(server), range(6)))
    seconds = time.perf_counter() - began
    assert len({json.dumps(one["logprobs"]) for one in found}) == 1
    assert server.in_flight_most == 2
    assert server.slots.asked_most > 2
    assert seconds >= 0.3
    assert len(server.seen) == 6


def test_a_server_that_breaks_fails_its_test(tiny: EmbeddedBackend) -> None:
    class Broken(Serving):
        def known(self, fields: Any, said: str = "") -> str:
            raise KeyError("broken")

    with (
        pytest.raises(AssertionError, match="server failed"),
        Broken(tiny) as server,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        generated(server)
