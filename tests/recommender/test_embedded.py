"""The embedded backend against the naive loop, on tiny networks and once on the real model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.models import EMBEDDED_TEACHER, resolve_model
from recommender.prompts import HISTORY_TITLES, PREFIX_TOKENS, TITLE_TOKENS, likelihood_text
from storage.artifacts import Artifacts
from storage.errors import BadData, BadSetting, Offline, UnknownName

HISTORY = ("Alien (1979)", "Blade Runner (1982)", "Heat")
TITLES = ["Aliens", "Toy Story (1995)", "Heat", "😀" * 5, "x" * 5000, "a<|end|>b", "\x1b[31m\n"]


def byte_tokenizer(*, begins: bool) -> PreTrainedTokenizerFast:
    """One token a byte, and two special ones."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    vocabulary |= {"<|begin|>": 256, "<|end|>": 257}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|begin|>", "<|end|>"])
    if begins:
        inner.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 256)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|begin|>", eos_token="<|end|>"
    )


def save_tiny(path: Path, *, tied: bool = False, begins: bool = False, kv: int = 2) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=kv,
        initializer_range=0.2,
        tie_word_embeddings=tied,
        max_position_embeddings=4096,
        bos_token_id=256,
        eos_token_id=257,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    byte_tokenizer(begins=begins).save_pretrained(path)
    return path


def open_tiny(path: Path, **shape: bool | int) -> EmbeddedBackend:
    return EmbeddedBackend.open(save_tiny(path, **shape), device="cpu", precision="float32")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedBackend:
    return open_tiny(tmp_path_factory.mktemp("tiny"))


def naive(backend: EmbeddedBackend, prefix: list[int], titles: list[str]) -> list[float]:
    """One pass a title, its tokens' log-probabilities added up."""
    totals = []
    for title in titles:
        ids = prefix + backend.title_tokens(title)
        with torch.inference_mode():
            logp = backend.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        totals.append(sum(logp[i - 1, ids[i]].item() for i in range(len(prefix), len(ids))))
    return totals


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


def write_gguf(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A Llama of one layer in GGUF's own terms, unquantised, with a byte tokenizer."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(4096)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(259)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*letters, "<|begin|>", "<|end|>", "aa"])
    writer.add_token_merges(["a a"])
    writer.add_token_types([1] * 256 + [3, 3, 1])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_converted_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(3)
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    tensors = {f"blk.0.{name}.weight": torch.randn(32, 32) * 0.2 for name in square}
    tensors |= {f"blk.0.{name}.weight": torch.rand(32) for name in ("attn_norm", "ffn_norm")}
    tensors |= {"token_embd.weight": torch.randn(259, 32), "output_norm.weight": torch.ones(32)}
    file = tmp_path / "tiny-model.gguf"
    write_gguf(file, tensors)
    artifacts = Artifacts(tmp_path / "artifacts")

    def opened(kept: Artifacts | None) -> EmbeddedBackend:
        return EmbeddedBackend.open(file, artifacts=kept, device="cpu", precision="float32")

    in_memory, first, second = opened(None), opened(artifacts), opened(artifacts)
    assert capfd.readouterr() == ("", "")
    assert len(list(artifacts.keys())) == 1
    assert first.describe() == second.describe() == in_memory.describe()
    assert first.describe().name == "tiny-model"
    assert first.model.lm_head.weight is first.model.model.embed_tokens.weight
    value = tensors["blk.0.attn_v.weight"]
    torch.testing.assert_close(first.model.model.layers[0].self_attn.v_proj.weight.data, value)
    prompt = Prompt(HISTORY)
    expected = in_memory.likelihood(prompt, TITLES).logprobs
    assert first.likelihood(prompt, TITLES).logprobs == pytest.approx(expected, abs=1e-5)
    prefix, _ = first.prefix_tokens(prompt)
    np.testing.assert_allclose(naive(first, prefix, TITLES), expected, atol=1e-4)


class TestNotThere:
    def test_no_such_name(self) -> None:
        with pytest.raises(UnknownName, match="no model 'nonsense'; next: recsys models list"):
            EmbeddedBackend.open("nonsense")

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownName, match=r"no model '.*absent\.gguf'"):
            EmbeddedBackend.open(tmp_path / "absent.gguf")

    def test_another_file(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(BadData, match=r"notes\.txt' is not a GGUF file"):
            EmbeddedBackend.open(tmp_path / "notes.txt")

    def test_an_empty_directory(self, tmp_path: Path) -> None:
        with pytest.raises(BadData, match=r"no config\.json and no GGUF file"):
            EmbeddedBackend.open(tmp_path)

    def test_pickled_weights_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(BadData, match=r"no \*\.safetensors"):
            EmbeddedBackend.open(tmp_path)

    def test_damaged_weights(self, tmp_path: Path) -> None:
        path = save_tiny(tmp_path)
        whole = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(BadData, match="cannot be loaded as a language model"):
            EmbeddedBackend.open(path, device="cpu")

    def test_a_damaged_gguf(self, tmp_path: Path) -> None:
        (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(20))
        with pytest.raises(BadData, match=r"broken\.gguf' cannot be read as GGUF"):
            EmbeddedBackend.open(tmp_path / "broken.gguf", device="cpu")

    def test_another_architecture(self, tmp_path: Path) -> None:
        path = save_tiny(tmp_path)
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, "model_type": "gpt-unheard-of"}))
        with pytest.raises(BadData, match="cannot be loaded"):
            EmbeddedBackend.open(path, device="cpu")

    def test_offline(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(Offline, match=r"'nobody/nothing' is not on this machine.*--teacher"):
            EmbeddedBackend.open("nobody/nothing")

    def test_settings(self, tmp_path: Path) -> None:
        with pytest.raises(BadSetting, match="no precision 'float8'"):
            EmbeddedBackend.open(tmp_path, precision="float8")
        with pytest.raises(BadSetting, match="no device 'tpu'"):
            EmbeddedBackend.open(tmp_path, device="tpu")


@pytest.mark.models
@pytest.mark.slow
def test_the_real_model_converted_once(models: Path, tmp_path: Path) -> None:
    spec = resolve_model(models, EMBEDDED_TEACHER)
    artifacts = Artifacts(tmp_path)
    backend = EmbeddedBackend.open(spec, artifacts=artifacts, device="cpu", precision="float32")
    assert backend.describe().layers == 30
    prompt = Prompt(HISTORY, noun="movies")
    prefix, _ = backend.prefix_tokens(prompt)
    titles = ["Aliens (1986)", "Toy Story (1995)", "The Silence of the Lambs (1991)"]
    found = backend.likelihood(prompt, titles).logprobs
    np.testing.assert_allclose(found, naive(backend, prefix, titles), atol=1e-4)
    whole = backend.tokenizer(likelihood_text(prompt), add_special_tokens=False)["input_ids"]
    assert prefix == whole
    keys = list(artifacts.keys())
    again = EmbeddedBackend.open(spec, artifacts=artifacts, device="cpu", precision="float32")
    assert again.describe() == backend.describe()
    assert list(artifacts.keys()) == keys
    assert again.likelihood(prompt, titles).logprobs == pytest.approx(found, abs=1e-5)
