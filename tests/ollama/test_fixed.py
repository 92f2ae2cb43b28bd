"""The server without a model: quick enough to measure a client by, and as slow as it is told."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import httpx

from tests.ollama.fixed import FixedServer
from tests.ollama.raw import LOCAL


def test_the_fixed_server_is_no_bottleneck() -> None:
    body = json.dumps({"model": "fixed", "prompt": "x" * 2000, "stream": False}).encode()

    def ask(url: str, times: int) -> None:
        connection = HTTPConnection(url.removeprefix("http://"))
        for _ in range(times):
            connection.request("POST", "/api/generate", body)
            found = json.loads(connection.getresponse().read())
            assert found["logprobs"][0]["top_logprobs"][0]["token"] == " D"
            assert 400 < found["prompt_eval_count"] < 600
        connection.close()

    with FixedServer(answer_seconds=0.001, slots=16) as server:
        began = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, [server.url] * 8, [40] * 8))
        rate = 320 / (time.perf_counter() - began)
    assert rate > 300, rate
    assert len(server.asked("/api/generate")) == 320


def test_the_fixed_server_takes_its_time_and_so_many_at_once() -> None:
    fields = {"model": "fixed", "prompt": "x", "stream": False}
    with FixedServer(answer_seconds=0.05, slots=4) as server, ThreadPoolExecutor(8) as pool:
        began = time.perf_counter()
        list(
            pool.map(
                lambda _: httpx.post(f"{server.url}/api/generate", json=fields, **LOCAL), range(16)
            )
        )
        seconds = time.perf_counter() - began
        turn = {"model": "fixed", "messages": [{"role": "user", "content": "Hi"}]}
        asked = {**turn, "_debug_render_only": True}
        found = httpx.post(f"{server.url}/api/chat", json=asked, **LOCAL).json()
        assert found["_debug_info"]["rendered_template"].startswith(
            "<|im_start|>user\nHi<|im_end|>"
        )
    assert 0.2 <= seconds < 2
    assert server.slots.most == 4
    assert max(number for _, number in server.in_flight) == 4
    assert server.in_flight[-1][1] == 0
