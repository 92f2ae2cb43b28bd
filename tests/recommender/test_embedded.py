"""The embedded backend against the naive loop, on tiny networks and once on the real model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.prompts import HISTORY_TITLES, PREFIX_TOKENS, TITLE_TOKENS, likelihood_text
from storage.errors import BadSetting
from tests.recommender.tiny_bytes import (
    HISTORY,
    TITLES,
    naive,
    open_tiny,
    save_tiny,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedBackend:
    return open_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("kv", [1, 4])
@pytest.mark.parametrize("tied", [False, True])
def test_likelihood_equals_the_naive_loop(
    tmp_path: Path, tied: bool, kv: int, begins: bool
) -> None:
    backend = open_tiny(tmp_path, tied=tied, kv=kv, begins=begins)
    prompt = Prompt(HISTORY, noun="movies")
    prefix, shown = backend.prefix_tokens(prompt)
    found = backend.likelihood(prompt, TITLES)
    np.testing.assert_allclose(found.logprobs, naive(backend, prefix, TITLES), atol=1e-4)
    assert found.tokens == tuple(len(backend.title_tokens(title)) for title in TITLES)
    assert found.history_shown == shown == 3
    assert (prefix[0] == 256) is begins
    assert backend.describe().begins_with == ("<|begin|>" if begins else "")


def test_unconditional_is_the_likelihood_without_a_history(tiny: EmbeddedBackend) -> None:
    alone = tiny.unconditional(TITLES * 8, noun="movies")  # enough for several packs
    empty = tiny.likelihood(Prompt((), noun="movies"), TITLES)
    np.testing.assert_allclose(alone.logprobs, empty.logprobs * 8, atol=1e-4)


def test_scores_do_not_depend_on_packs_or_company(
    tiny: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = Prompt(HISTORY)
    together = tiny.likelihood(prompt, TITLES, states_of=(1,))
    monkeypatch.setattr("recommender.backends.embedded.PACK_TOKENS", 130)
    assert len(tiny.request_packs(prompt, TITLES)) > 1
    apart = tiny.likelihood(prompt, TITLES, states_of=(1,))
    np.testing.assert_allclose(together.logprobs, apart.logprobs, atol=1e-4)
    np.testing.assert_allclose(together.states, apart.states, atol=1e-5)
    single = [tiny.likelihood(prompt, [title]).logprobs[0] for title in TITLES]
    np.testing.assert_allclose(together.logprobs, single, atol=1e-4)


def test_head_in_chunks_gives_the_same(
    tiny: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny.likelihood(Prompt(HISTORY), TITLES)
    monkeypatch.setattr("recommender.backends.passes.HEAD_ROWS", 7)
    np.testing.assert_allclose(
        tiny.likelihood(Prompt(HISTORY), TITLES).logprobs, whole.logprobs, atol=1e-5
    )


def test_a_beginning_of_a_title_is_not_favoured(tiny: EmbeddedBackend) -> None:
    # Every title of one token sequence ends in the newline, so their probabilities exclude
    # each other: together they cannot exceed 1.
    titles = ["a", "aa", "aaa", "ab", "b"]
    assert sum(np.exp(tiny.likelihood(Prompt(HISTORY), titles).logprobs)) < 1


def test_states_of_the_same_pass(tiny: EmbeddedBackend) -> None:
    prompt = Prompt(HISTORY)
    scores = tiny.likelihood(prompt, TITLES, states_of=(0, 2, 3))
    assert scores.states is not None
    prefix, _ = tiny.prefix_tokens(prompt)
    with torch.inference_mode():
        hidden = tiny.model(torch.tensor([prefix]), output_hidden_states=True).hidden_states
        last = tiny.model.model.norm(torch.tensor(scores.states[2]))
    np.testing.assert_allclose(scores.states[0], hidden[0][0, -1], atol=1e-5)
    np.testing.assert_allclose(scores.states[1], hidden[2][0, -1], atol=1e-4)
    np.testing.assert_allclose(last, hidden[3][0, -1], atol=1e-4)
    np.testing.assert_allclose(tiny.states(prompt, (3, 0)), scores.states[[2, 0]], atol=1e-4)
    assert tiny.likelihood(prompt, TITLES).states is None
    with pytest.raises(ValueError, match=r"state 4 is not in 0\.\.3"):
        tiny.states(prompt, (4,))


def test_letters_are_the_next_token(tiny: EmbeddedBackend) -> None:
    prompt = Prompt(HISTORY, ("Aliens", "Heat", "Up"), "movies")
    found = tiny.score(prompt, "ABC")
    # One byte a token: " A" is two tokens, so only "A" counts.
    from recommender.prompts import letters_text

    ids = tiny.tokenizer(letters_text(prompt, "ABC"), add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logp = tiny.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    letters = tiny.tokenizer.convert_tokens_to_ids(["A", "B", "C"])
    np.testing.assert_allclose(found.logprobs, logp[letters], atol=1e-4)
    assert found.outside == pytest.approx(1 - logp[letters].exp().sum().item(), abs=1e-5)
    assert found.tokens == (1, 1, 1)
    with pytest.raises(BadSetting, match="2 labels for 3 candidates"):
        tiny.score(prompt, "AB")
    with pytest.raises(BadSetting, match="'10' is not a single token"):
        tiny.score(prompt, ["1", "2", "10"])


@pytest.mark.parametrize("room", [PREFIX_TOKENS, 200, 40, 1])
def test_old_titles_go_first_and_lines_stay_whole(
    tiny: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr("recommender.backends.embedded.PREFIX_TOKENS", room)
    titles = tuple(f"{number} " + "long" * 100 for number in range(30))
    prefix, shown = tiny.prefix_tokens(Prompt(titles))
    empty = len(tiny.prefix_tokens(Prompt(()))[0])
    assert len(prefix) <= max(room, empty)  # heading and last bullet always stay
    text = tiny.tokenizer.decode(prefix)
    lines = text.splitlines()
    assert shown == min(HISTORY_TITLES, max(0, room - empty) // (TITLE_TOKENS + 1))
    assert len(lines) == shown + 2
    assert [line.split()[1] for line in lines[1:-1]] == [str(n) for n in range(30 - shown, 30)]
    assert text.startswith("Products ")
    assert text.endswith("\n-")


def test_tokens_of_the_prompt_are_those_of_its_text(tiny: EmbeddedBackend) -> None:
    prompt = Prompt(HISTORY, noun="movies")
    whole = tiny.tokenizer(likelihood_text(prompt), add_special_tokens=False)["input_ids"]
    assert tiny.prefix_tokens(prompt)[0] == whole


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text(st.characters(), max_size=120))
def test_any_title_is_one_bounded_line_of_mere_text(tiny: EmbeddedBackend, title: str) -> None:
    for hostile in (title, f"<|end|>{title}<|begin|>"):
        tokens = tiny.title_tokens(hostile)
        newline = tiny.title_tokens("")[-1]
        assert 2 <= len(tokens) <= TITLE_TOKENS
        assert tokens[-1] == newline
        assert newline not in tokens[:-1]
        assert max(tokens) < 256  # neither <|begin|> nor <|end|>


def test_stream_is_greedy_and_bounded(tiny: EmbeddedBackend) -> None:
    pieces = list(tiny.stream("Alien", limit=6))
    ids = tiny.tokenizer("Alien", add_special_tokens=False)["input_ids"]
    start = len(ids)
    for _ in range(6):
        with torch.inference_mode():
            best = int(tiny.model(torch.tensor([ids])).logits[0, -1].argmax())
        if best == 257:
            break
        ids.append(best)
    said = tiny.tokenizer.decode(ids[start:])
    assert said.startswith("".join(pieces))
    assert pieces


def test_card_names_weights_and_precision(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "Tiny", tied=True)
    one = EmbeddedBackend.open(path, device="cpu", precision="float32").describe()
    half = EmbeddedBackend.open(path, device="cpu", precision="bfloat16").describe()
    assert one.name == "tiny"
    assert (one.family, one.layers, one.hidden_size) == ("llama", 3, 32)
    assert one.digest == half.digest
    assert one.digest.startswith("sha256:")
    assert one.key != half.key
    tensors = path / "model.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    changed = EmbeddedBackend.open(path, device="cpu", precision="float32").describe()
    assert changed.digest != one.digest
    assert dataclasses.replace(changed, digest=one.digest) == one


def test_large_weights_are_sampled_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_tiny(tmp_path)
    monkeypatch.setattr("recommender.backends.weights.WHOLE_LIMIT", 1000)
    monkeypatch.setattr("recommender.backends.weights.SAMPLE_BYTES", 64)
    card = EmbeddedBackend.open(path, device="cpu", precision="float32").describe()
    assert card.digest.startswith("sampled:")


def test_opening_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_tiny(tmp_path)
    capfd.readouterr()  # saving draws a bar, opening must not
    EmbeddedBackend.open(tmp_path, device="cpu", precision="float32")
    assert capfd.readouterr() == ("", "")


def test_bfloat16_is_near_float32(tmp_path: Path) -> None:
    path = save_tiny(tmp_path)
    exact = EmbeddedBackend.open(path, device="cpu", precision="float32")
    half = EmbeddedBackend.open(path, device="cpu", precision="bfloat16")
    assert half.model.dtype == torch.bfloat16
    prompt = Prompt(HISTORY)
    expected = exact.likelihood(prompt, TITLES).logprobs
    np.testing.assert_allclose(half.likelihood(prompt, TITLES).logprobs, expected, rtol=0.05)
