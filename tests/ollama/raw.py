"""Requests to a server of this folder, sent without a client of ours."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.ollama.serving import Serving

LOCAL: dict[str, Any] = {"verify": False, "trust_env": False}
"""Spares a client the certificates that nobody asks for here."""
OPTIONS = {"num_ctx": 2048, "temperature": 0, "seed": 0, "repeat_penalty": 1.0, "num_predict": 1}
PROMPT = "A customer bought these office products, oldest first:\n- Pen\n\nAnswer:"


def scoring(prompt: str = PROMPT, top: int = 20, **more: Any) -> dict[str, Any]:
    """Return the request for one token with its alternatives."""
    return {
        "model": "tiny",
        "prompt": prompt,
        "raw": True,
        "stream": False,
        "truncate": False,
        "logprobs": True,
        "top_logprobs": top,
        "options": {**OPTIONS, **more.pop("options", {})},
        **more,
    }


def post(server: Serving, path: str, found: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=found, **LOCAL)


def generated(server: Serving, **more: Any) -> dict[str, Any]:
    answer = post(server, "/api/generate", scoring(**more))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def lines(server: Serving, **more: Any) -> list[dict[str, Any]]:
    fields = scoring(stream=True, **more)
    with httpx.stream("POST", f"{server.url}/api/generate", json=fields, **LOCAL) as answer:
        return [json.loads(line) for line in answer.iter_lines()]
