"""Against a live server: `OLLAMA_HOST=… python -m pytest -m ollama`. Nothing is pulled or deleted.

Asks the smallest completion model that the server holds, by the contract every backend keeps
and by what only a real server can show. Skips with the reason where no server answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing

import pytest

from recommender.asking.answering import ask_ranking
from recommender.backends import Backend, Prompt
from recommender.backends.errors import BackendError, CannotTeach, ContextTooSmall
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.models import ServerModels
from recommender.contracts import BackendContract
from tests.conftest import LIVE

pytestmark = pytest.mark.ollama

PROMPT = Prompt(
    ("Pocket radio", "Desk lamp", "Ballpoint pens, 12-Pack"),
    ("Gel pens, black", "Garden hose", "Frying pan", "Sticky notes"),
    "products",
)


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest) -> Iterator[OllamaBackend]:
    """The smallest model that can teach."""
    host = request.config.stash[LIVE]
    refused = []
    with OllamaClient(host) as client, ServerModels(client) as models:
        try:
            client.version()
        except BackendError as error:
            pytest.skip(f"OLLAMA_HOST: {error.what}")
        held = [models.show(facts.name) for facts in models.pulled()]
    for facts in held:
        if "completion" not in facts.capabilities:
            continue
        try:
            with closing(OllamaBackend.open(facts.name, host=host, num_ctx=2048)) as backend:
                yield backend
                return
        except CannotTeach as error:
            refused.append(error.what)
    pytest.skip(f"{host} holds no model that can teach: {'; '.join(refused) or 'none at all'}")


class TestLive(BackendContract):
    noise = 0.5

    @pytest.fixture(autouse=True)
    def _take(self, live: Backend) -> None:
        self.one = live

    def backend(self) -> Backend:
        return self.one


def test_letters_are_probabilities(live: OllamaBackend) -> None:
    scores = live.score(PROMPT, "ABCD")
    assert math.fsum(map(math.exp, scores.logprobs)) + scores.outside == pytest.approx(1, abs=0.02)
    assert int(str(scores.details["prompt_tokens"])) > 30


def test_temperature_does_not_move_log_probabilities(live: OllamaBackend) -> None:
    cold = live.fields(live.template.around("Say A or B.", "Answer:"), predict=1, top=5)
    hot = {**cold, "options": {**cold["options"], "temperature": 1.5}}
    live.client.generate(cold)  # what is read from the cache is equal; what is not may differ
    first, second = (
        {t["token"]: t["logprob"] for t in answer["logprobs"][0]["top_logprobs"]}
        for answer in (live.client.generate(fields) for fields in (cold, hot))
    )
    assert first == pytest.approx(second, abs=1e-3)


def test_a_prompt_that_is_too_long_is_refused_and_not_cut(live: OllamaBackend) -> None:
    fields = live.fields("word " * 4000, predict=1)
    with pytest.raises(ContextTooSmall):
        live.client.generate(fields)


def test_a_ranking_by_schema_can_be_read(live: OllamaBackend) -> None:
    scores = ask_ranking(live, PROMPT, "ABCD")
    assert scores.status in ("", "wrong_format")
    assert len(scores.logprobs) == 4
