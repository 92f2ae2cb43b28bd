"""Reasons: what is asked, where they end, who cannot give any, and what a failure leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recommender.api import Recommender
from recommender.asking.answering import Texts
from recommender.asking.explaining import explain, writer
from recommender.backends import Ability, Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.errors import ContextTooSmall, Died, Lost
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.scripted import ScriptedBackend
from recommender.chat_prompts import reason_turn
from recommender.config import Settings
from recommender.models import register
from storage.errors import BadSetting
from storage.store import Store
from tests.ollama.faults import Fault
from tests.ollama.serving import Serving
from tests.tiny import SHOP, Letters, add_shop, open_llama

TEXTS = Texts([f"Item {number}" for number in range(9)], "gadgets", 4)


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


def script(words: str, *abilities: Ability) -> ScriptedBackend:
    return ScriptedBackend(
        lambda prompt, titles: [-3.0] * len(titles), words=words, abilities=abilities or ("text",)
    )


def test_the_model_is_asked_about_the_end_of_the_history() -> None:
    turns = []

    def words(turn: str) -> str:
        turns.append(turn)
        return "It fits."

    backend = ScriptedBackend(lambda prompt, titles: [], words=words, abilities=("text",))
    assert "".join(explain(backend, TEXTS, [0, 1, 2, 3, 4, 5], 8)) == "It fits."
    shown = Prompt(("Item 2", "Item 3", "Item 4", "Item 5"), noun="gadgets")
    assert turns == [reason_turn(shown, "Item 8")]


@pytest.mark.parametrize(
    ("words", "limit", "said"),
    [
        ("It fits the camera.", 60, "It fits the camera."),
        ("It fits the camera", 4, "It fits the camera…"),
        ("It fits the camera.", 4, "It fits the camera."),
        ("It fits the camera well.", 3, "It fits the …"),
        ("no stop", 60, "no stop"),
        ("", 60, ""),
    ],
)
def test_what_is_cut_at_the_limit_says_so(words: str, limit: int, said: str) -> None:
    assert "".join(explain(script(words), TEXTS, [0], 1, limit=limit)) == said


def test_the_oldest_half_goes_until_the_prompt_fits(model: EmbeddedBackend) -> None:
    class Small(EmbeddedBackend):
        def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
            if turn.count("- ") > 2:
                raise ContextTooSmall("too long", needed=9, given=5)
            shown.append(turn)
            yield from super().stream(turn, limit=limit)

    shown: list[str] = []
    small = Small(model.model, model.tokenizer, model.describe())
    assert "".join(explain(small, TEXTS, [0, 1, 2, 3], 8, limit=3))
    assert shown == [reason_turn(Prompt(("Item 3",), noun="gadgets"), "Item 8")]

    class Full(EmbeddedBackend):
        def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
            raise ContextTooSmall("too long", needed=9, given=5)
            yield ""

    full = Full(model.model, model.tokenizer, model.describe())
    with pytest.raises(ContextTooSmall):
        list(explain(full, TEXTS, [0, 1, 2], 8))


def test_a_server_with_too_little_room_is_asked_about_less(model: EmbeddedBackend) -> None:
    texts = Texts(["Item " + "long " * 14 + str(n) for n in range(12)], "gadgets", 10)
    with Serving(model) as server:
        backend = OllamaBackend.open("tiny", host=server.url, num_ctx=256)
        reason = "".join(explain(backend, texts, list(range(10)), 11, limit=4))
        backend.close()
        asked = [one["prompt"] for one in server.asked("/api/generate") if one.get("stream")]
    assert reason
    shown = [prompt.count("- Item") - 1 for prompt in asked]  # one is what is offered
    assert shown == [10, 5, 2, 1, 0][: len(shown)]
    assert len(shown) > 1


@pytest.mark.parametrize(
    ("fault", "error"), [(Fault.DIES_MID_STREAM, Died), (Fault.CUT_STREAM, Lost)]
)
def test_what_came_before_a_failure_is_given_out(
    model: EmbeddedBackend, fault: Fault, error: type[Exception]
) -> None:
    with Serving(model) as server:
        backend = OllamaBackend.open("tiny", host=server.url)
        server.fault = fault
        pieces = explain(backend, TEXTS, [0, 1], 8, limit=20)
        assert next(pieces)
        with pytest.raises(error):
            list(pieces)
        backend.close()


def test_closing_a_reason_stops_the_model(model: EmbeddedBackend) -> None:
    with Serving(model) as server:
        backend = OllamaBackend.open("tiny", host=server.url)
        pieces = explain(backend, TEXTS, [0, 1], 8, limit=2000)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        until = time.monotonic() + 30
        while not server.abandoned and time.monotonic() < until:
            time.sleep(0.01)
        backend.close()
        assert server.abandoned == 1


@pytest.mark.parametrize("who", ["student", "student:best-1", "popularity", "item-knn"])
def test_who_is_no_model_gives_no_reasons(who: str) -> None:
    with pytest.raises(BadSetting, match=f"'{who}' is no language .* with --by teacher --explain"):
        writer(who, None)


# Through the library's door.


@pytest.fixture
def shop(tmp_path: Path, llama: Path) -> Iterator[Recommender]:
    settings = Settings(data_dir=tmp_path, teacher="tiny", device="cpu", precision="float32")
    register(settings.models, "tiny", str(llama))
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store, people=20)
    with Recommender.open(SHOP, settings=settings, encoder=Letters()) as opened:
        yield opened


def test_each_item_comes_with_the_models_words(shop: Recommender, model: EmbeddedBackend) -> None:
    answer = shop.recommend("S003", 3, by="teacher")
    found = [(item, "".join(pieces)) for item, pieces in shop.reasons(answer, user="S003")]
    assert [item for item, _ in found] == list(answer.items)
    catalogue = shop.store.catalogue
    titles = catalogue.item_titles(shop.category.id)
    history = catalogue.history(shop.category.id, catalogue.user_number(shop.category.id, "S003"))
    prompt = Prompt(tuple(titles[i] for i in history[-10:]), noun="tiny shop")
    for item, reason in found:
        said = "".join(model.stream(reason_turn(prompt, item.title), limit=60))
        assert reason in (said, f"{said}…")


def test_a_history_that_is_named_is_what_reasons_are_about(shop: Recommender) -> None:
    past = ["E0000", "E0001"]
    answer = shop.recommend(None, 1, by="teacher:tiny", history=past)
    [(item, pieces)] = shop.reasons(answer, history=past, by="teacher:tiny")
    assert item == answer.items[0]
    [(_, others)] = shop.reasons(answer, history=["E0100"], by="teacher:tiny")
    assert "".join(pieces) != "".join(others)


def test_nothing_is_asked_before_it_is_read(
    shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = shop.recommend("S003", 2, by="teacher")
    asked = []
    monkeypatch.setattr(EmbeddedBackend, "stream", lambda *_, **__: iter(asked.append(1) or ["x"]))
    reasons = list(shop.reasons(answer, user="S003"))
    assert asked == []
    assert ["".join(pieces) for _, pieces in reasons] == ["x", "x"]


def test_reasons_of_who_has_none_are_refused_at_once(shop: Recommender) -> None:
    answer = shop.recommend("S003", 2, by="popularity")
    with pytest.raises(BadSetting, match="'popularity' is no language model"):
        shop.reasons(answer, user="S003", by="popularity")


def test_a_teacher_that_only_compares_is_refused_by_name(shop: Recommender) -> None:
    ranker, _ = shop.ranker("teacher")
    object.__setattr__(ranker, "backend", script("", "similarity"))
    answer = shop.recommend("S003", 2, by="popularity")
    with pytest.raises(BadSetting, match="'scripted' writes no text and gives no reasons"):
        shop.reasons(answer, user="S003")
