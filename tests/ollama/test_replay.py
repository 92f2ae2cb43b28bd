"""The recorded server: every recorded answer comes back as it was, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import httpx
import ollama
import pytest

from tests.ollama import replay
from tests.ollama.replay import REFUSED, VERSIONS, Case, Exchange, Replay, cases


def sent(client: httpx.Client, one: Exchange) -> tuple[httpx.Response, list[bytes]]:
    """Send a recorded request; return the answer and the pieces that it came in."""
    kind = {"content-type": "application/json"} if one.json is not None else {}
    with client.stream(one.method, one.path, content=one.sent, headers=kind) as answer:
        return answer, list(answer.iter_raw())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_request_gets_its_recorded_answer(version: str) -> None:
    known = cases(version)
    assert len(known) > 80
    with Replay(version) as server, httpx.Client(base_url=server.url, verify=False) as client:
        for case in known.values():
            for number, one in enumerate(case.exchanges):
                where = (version, case.name, number)
                answer, pieces = sent(client, one)
                assert answer.status_code == one.status, where
                assert b"".join(pieces) == one.answer, where
                if one.chunked_lines:
                    assert tuple(pieces) == one.pieces, where
                for name, text in one.headers.items():
                    length = name == "content-length" and one.method != "HEAD"
                    expected = str(len(one.answer)) if length else text
                    assert answer.headers[name] == expected, where
        exchanges = [one for case in known.values() for one in case.exchanges]
        assert server.refused == []
        assert [(s.method, s.path, s.json) for s in server.seen] == [
            (one.method, one.path, one.json) for one in exchanges
        ]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_one_connection_unless_the_server_closes_it(version: str) -> None:
    case = cases(version)["score-parallel"]
    with Replay(version, only=("score-parallel",)) as server:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        with httpx.Client(base_url=server.url, limits=limits, verify=False) as client:
            ports = {
                answer.extensions["network_stream"].get_extra_info("client_addr")
                for answer, _ in (sent(client, one) for one in case.exchanges)
            }
    assert len(ports) == 1


def test_the_same_request_gets_its_recordings_in_order_and_then_the_last() -> None:
    case = cases("0.32.15")["score-repeat"]
    with (
        Replay("0.32.15", only=("score-repeat",)) as server,
        httpx.Client(base_url=server.url, verify=False) as client,
    ):
        got = [b"".join(sent(client, case.exchanges[0])[1]) for _ in range(7)]
    recorded = [one.answer for one in case.exchanges]
    assert got == [*recorded, recorded[-1], recorded[-1]]


def test_only_keeps_a_request_to_the_files_that_are_named() -> None:
    one = cases("0.24.0")["score-letters"].exchanges[0]
    for name in ("score-letters", "reload"):
        with (
            Replay("0.24.0", only=(name,)) as server,
            httpx.Client(base_url=server.url, verify=False) as client,
        ):
            _, pieces = sent(client, one)
            assert b"".join(pieces) == cases("0.24.0")[name].exchanges[0].answer
            assert client.get("/api/version").status_code == REFUSED


def test_saying_a_default_is_the_same_request_and_anything_else_is_not() -> None:
    with (
        Replay("0.32.15", only=("pull-missing", "score-letters")) as server,
        httpx.Client(base_url=server.url, verify=False) as client,
    ):
        pull = {"model": "registry.example/library/shop:nothing", "insecure": True}
        for said in ({"stream": True}, {"verbose": False}, {"username": None}):
            assert client.post("/api/pull", json={**pull, **said}).status_code == 200
        score = cases("0.32.15")["score-letters"].exchanges[0].json
        options = {**score["options"], "repeat_penalty": 1, "stop": None}
        same = {**score, "options": options}
        assert client.post("/api/generate", json=same).status_code == 200
        assert server.refused == []
        other = {**score, "options": {**options, "num_ctx": 4096}, "stream": True}
        refused = client.post("/api/generate", json=other)
        assert refused.status_code == REFUSED
        assert refused.json() == {
            "error": "not recorded: POST /api/generate; 'score-letters' differs in options, stream"
        }
        assert [one.json for one in server.refused] == [other]


def test_the_package_of_ollama_can_read_it() -> None:
    with Replay("0.32.15") as server:
        client = ollama.Client(host=server.url)
        try:
            assert client.list().models[0].model == "smollm2:135m"
            assert client.show("smollm2:135m").capabilities == ["completion"]
            assert [one.context_length for one in client.ps().models] == [2048]
            said = client.pull("registry.example/library/shop:135m", insecure=True, stream=True)
            assert [one.status for one in said][-1] == "success"
            texts = cases("0.32.15")["embed"].exchanges[0].json["input"]
            assert len(client.embed("all-minilm", texts).embeddings) == 3
        finally:
            client._client.close()
        assert server.refused == []


def test_a_case_says_what_its_prompt_was_made_of() -> None:
    case = cases("0.32.15")["score-letters"]
    assert isinstance(case, Case)
    assert case.candidates.index(case.target or 0) == 4
    assert (len(case.candidates), len(case.history), case.user) == (10, 5, "A1228")
    assert case.exchanges[0].parsed["response"] == " D"
    assert cases("0.24.0")["rank-json"].exchanges[0].parsed["done"] is True
    assert cases("0.24.0")["pull"].exchanges[0].parsed[-1] == {"status": "success"}


def test_without_the_recordings_it_skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "RECORDED", tmp_path / "ollama-transcripts")
    with pytest.raises(pytest.skip.Exception, match="not beside the checkout"):
        Replay("0.0.0")
