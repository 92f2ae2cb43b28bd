"""A model on a server is opened: its template, what it can do, and why some cannot teach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.errors import CannotTeach, ContextTooSmall, ModelMissing, ServerDown
from recommender.backends.hosts import Hosts
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.pulling import Pulled, pull
from recommender.backends.opening import open_backend
from recommender.config import Settings
from recommender.datasets.sample_shoppers import sample_items
from recommender.events import Progress, StageDone, StageSkipped, StageStarted
from storage.errors import BadSetting
from tests.ollama.faults import Fault
from tests.ollama.serving import Serving
from tests.tiny import open_llama

Opened = Callable[..., OllamaBackend]
PROMPT = Prompt(("Pocket radio", "Desk lamp"), ("Pen", "Tape", "Lamp"), "products")


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


@pytest.fixture
def server(model: EmbeddedBackend) -> Iterator[Serving]:
    with Serving(model) as serving:
        yield serving


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open a model, and close it when the test is over."""
    with ExitStack() as stack:

        def open_(server: Serving, **options: int) -> OllamaBackend:
            backend = OllamaBackend.open(server.name, host=server.url, **options)
            stack.callback(backend.close)
            return backend

        yield open_


def test_a_card_says_what_decides_an_answer(opened: Opened, server: Serving) -> None:
    card = opened(server).describe()
    assert card.name == "tiny:latest"
    assert card.digest == f"sha256:{server.digest[:24]}"
    assert card.server == "ollama 0.32.15"
    assert card.abilities == ("letters", "text", "json")
    assert card.options.startswith("num_ctx=")
    assert card.concurrent
    # The context the model was trained with is the most it is given.
    assert (
        opened(server, num_ctx=1_000_000).num_ctx
        == server.backend.model.config.max_position_embeddings
    )


def test_one_set_of_options_so_the_model_is_loaded_once(opened: Opened, server: Serving) -> None:
    backend = opened(server)
    for _ in range(3):
        backend.score(PROMPT, "ABC")
    list(backend.stream("Say something.", limit=3))
    backend.complete("Say something.", limit=3)
    assert server.loads == 1
    wanted = {"num_ctx", "temperature", "seed", "repeat_penalty", "num_predict"}
    for fields in server.asked("/api/generate"):
        assert set(fields["options"]) == wanted
        assert fields["truncate"] is False
        assert fields["think"] is False
        assert fields["raw"] is True
        assert "stop" not in fields["options"]


def test_letters_over_the_wire_are_the_models_own(
    opened: Opened, server: Serving, model: EmbeddedBackend
) -> None:
    scores = opened(server).score(PROMPT, "ABC")
    assert len(scores.logprobs) == 3
    assert scores.history_shown == 2
    assert 0.0 <= scores.outside <= 1.0
    top = scores.details["top"]
    assert isinstance(top, list)
    named = {token.strip() for token, _ in top}
    for n, letter in enumerate("ABC"):
        if letter in named:
            sums = [math.exp(p) for token, p in top if token.strip() == letter]
            assert scores.logprobs[n] == pytest.approx(math.log(math.fsum(sums)))


@pytest.mark.parametrize(
    ("template", "ends_with"),
    [
        ("chatml", "<|im_start|>assistant\n"),
        ("chatml-think", "<think>\n\n</think>\n\n"),
        ("llama3", "<|start_header_id|>assistant<|end_header_id|>\n\n"),
        ("harmony", "<|start|>assistant<|channel|>final<|message|>"),
    ],
)
@pytest.mark.parametrize("renders", [True, False])
def test_a_prompt_ends_where_a_letter_follows(
    opened: Opened, model: EmbeddedBackend, template: str, ends_with: str, renders: bool
) -> None:
    with Serving(model, template=template, debug_render=renders) as server:
        backend = opened(server)
        assert backend.template.after.endswith(ends_with)
        assert (backend.template.source == "rendered") is renders
        backend.score(PROMPT, "ABC")
        text = server.asked("/api/generate")[-1]["prompt"]
        assert text.endswith(f"{ends_with}Answer:")
        # The tokenizer begins a text by itself.
        assert not text.startswith(("<|begin_of_text|>", "<s>", "<bos>"))


@pytest.mark.parametrize("renders", [True, False])
def test_a_model_that_always_thinks_is_refused_with_the_reason(
    opened: Opened, model: EmbeddedBackend, renders: bool
) -> None:
    with Serving(model, template="thinking-only", debug_render=renders) as server:
        with pytest.raises(CannotTeach, match="thinks before every answer") as failed:
            opened(server)
        assert "instruct" in failed.value.next_step


def test_a_server_without_log_probabilities_ranks_by_json(
    opened: Opened, model: EmbeddedBackend
) -> None:
    with Serving(model, version="0.12.10", logprobs=False) as server:
        backend = opened(server)
        assert backend.describe().abilities == ("text", "json")
        with pytest.raises(BadSetting, match=r"0\.12\.10 names no log-probabilities"):
            backend.score(PROMPT, "ABC")


def test_likelihood_is_refused_by_name(opened: Opened, server: Serving) -> None:
    backend = opened(server)
    for ask in (
        lambda: backend.likelihood(PROMPT, ["Pen"]),
        lambda: backend.unconditional(["Pen"]),
        lambda: backend.similarity(PROMPT),
    ):
        with pytest.raises(BadSetting, match="tiny:latest"):
            ask()


def test_the_oldest_titles_go_first_where_the_context_is_small(
    opened: Opened, server: Serving
) -> None:
    backend = opened(server, num_ctx=384)
    titles = sorted((row.title for row in sample_items()), key=len)[-9:]
    long = Prompt(tuple(titles), PROMPT.candidates, "products")
    shown = backend.fitted(long, "ABC").history
    assert 0 < len(shown) < 9
    assert shown == long.history[-len(shown) :]
    scores = backend.score(long, "ABC")
    assert scores.history_shown == len(shown)
    assert int(str(scores.details["prompt_tokens"])) < 384
    crowd = Prompt((), tuple("pen " * 45 for _ in range(20)), "products")
    with pytest.raises(ContextTooSmall, match="20 candidates take about") as failed:
        backend.score(crowd, "ABCDEFGHIJKLMNOPQRST")
    assert failed.value.needed > failed.value.given == 384


def test_nobody_there_names_the_server_and_the_embedded_teacher(tmp_path: Path) -> None:
    with pytest.raises(ServerDown, match="no Ollama server answers at http://127") as failed:
        open_backend("llama3.1:8b", Settings(data_dir=tmp_path, hosts=("127.0.0.1:9",)))
    assert failed.value.next_step.startswith("ollama serve, or --teacher embedded")


def test_a_model_that_is_not_pulled(server: Serving, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="does not have 'qwen3:8b'") as failed:
        open_backend("qwen3:8b", Settings(data_dir=tmp_path, hosts=(server.url,)))
    assert failed.value.next_step == "ollama pull qwen3:8b, or the same command with --pull"


def test_an_embedding_model_embeds_and_does_nothing_else(
    opened: Opened, model: EmbeddedBackend, tmp_path: Path
) -> None:
    from tests.tiny import Letters

    with Serving(model, capabilities=("embedding",), encoder=Letters()) as server:
        settings = Settings(data_dir=tmp_path, hosts=(server.url,))
        backend = open_backend("tiny", settings)
        assert backend.describe().abilities == ("similarity",)
        assert len(backend.similarity(PROMPT).logprobs) == 3
        backend.close()
        with pytest.raises(CannotTeach, match="writes no text"):
            opened(server)


def test_a_pull_is_drawn_and_a_second_one_skipped(server: Serving) -> None:
    *said, last = pull("shop:1b", host=server.url)
    assert isinstance(last, Pulled)
    assert (last.name, last.digest) == ("shop:1b", server.digest)
    assert isinstance(said[0], StageStarted)
    assert isinstance(said[-1], StageDone)
    bars = [event for event in said if isinstance(event, Progress)]
    assert bars[-1].done == bars[-1].total
    skipped, last = pull("shop:1b", host=server.url)
    assert isinstance(skipped, StageSkipped)
    assert isinstance(last, Pulled)


def test_a_name_that_no_registry_has(server: Serving) -> None:
    with pytest.raises(ModelMissing, match="no registry"):
        list(pull("missing:1b", host=server.url))


def test_a_registry_out_of_reach_is_told_from_a_server_out_of_reach(server: Serving) -> None:
    with pytest.raises(ServerDown, match="cannot reach the registry"):
        list(pull("unreachable:1b", host=server.url))


def test_a_proxy_in_the_way_is_named(opened: Opened, server: Serving) -> None:
    server.fault = Fault.HTML_PROXY
    with pytest.raises(ServerDown, match="a proxy is in the way") as failed:
        opened(server)
    assert "NO_PROXY" in failed.value.next_step


def test_a_proxy_in_the_environment_does_not_catch_this_machine(
    opened: Opened, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with pytest.raises(httpx.ConnectError):  # the trap is real
        httpx.get(f"{server.url}/api/version", timeout=2)
    with OllamaClient(server.url) as client:
        assert client.version() == "0.32.15"
    assert opened(server).describe().name == "tiny:latest"


def test_two_builds_of_one_name_are_not_mixed(opened: Opened, model: EmbeddedBackend) -> None:
    with Serving(model) as one, Serving(model) as other:
        assert Hosts([opened(one), opened(other)]).describe().name == "tiny:latest"
        other.digest = "ab" * 32
        with pytest.raises(BadSetting, match="another build"):
            Hosts([opened(one), opened(other)])
