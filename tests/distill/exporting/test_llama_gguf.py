"""Llamas written as GGUF files, read back by the project's own loader and by the gguf package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from distill.exporting.gguf_head import read_head
from distill.exporting.llama_gguf import permuted, rounded
from distill.exporting.llama_layout import kind_of, plan_tensors, require_llama, rope_factors
from distill.exporting.probing import open_model, round_weights
from storage.errors import BadData
from tests.distill.exporting.llamas import LAYOUTS, SCALED, logits, open_llama, save, write_file


@pytest.fixture(scope="module", params=LAYOUTS)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    return save(tmp_path_factory.mktemp("llamas") / name.replace(" ", "-"), **LAYOUTS[name])


@pytest.mark.parametrize(("format", "near"), [("f16", 0.01), ("q8_0", 0.15)])
def test_a_file_answers_as_its_directory(
    directory: Path, tmp_path: Path, format: str, near: float
) -> None:
    file = open_llama(write_file(directory, tmp_path / "a.gguf", format))
    own = open_llama(directory)
    here, there = logits(own), logits(file)
    assert there.shape == here.shape
    assert float((here - there).abs().max()) < near * float(here.std())


@pytest.mark.parametrize("format", ["f16", "q8_0"])
def test_a_file_is_its_directory_rounded_and_nothing_else(
    directory: Path, tmp_path: Path, format: str
) -> None:
    file = open_llama(write_file(directory, tmp_path / "a.gguf", format))
    own = open_model(directory)
    round_weights(own, format)
    stored, read = own.model.state_dict(), file.model.state_dict()
    assert stored.keys() == read.keys()
    for name, weight in stored.items():
        assert torch.equal(weight, read[name]), name
    assert torch.allclose(logits(own), logits(file), atol=2e-5)


def test_text_is_split_alike(directory: Path, tmp_path: Path) -> None:
    file, own = open_llama(write_file(directory, tmp_path / "a.gguf")), open_llama(directory)
    for text in (
        "Pens, 12-Pack",
        "  two  spaces\n\n",
        "l'été 2026, 日本",
        "<|end|>a<|end|>",
        "it's",
    ):
        assert file.tokenizer(text)["input_ids"] == own.tokenizer(text)["input_ids"]


def test_what_the_file_says(directory: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(directory)
    head = read_head(write_file(directory, tmp_path / "a.gguf", "q8_0"))
    assert (head.architecture, head.layers) == ("llama", 4)
    assert head.said("llama.attention.head_count_kv") == config.num_key_value_heads
    assert head.said("llama.rope.dimension_count") == config.head_dim
    assert head.said("general.file_type") == 7
    assert len(head.said("tokenizer.ggml.tokens")) == config.vocab_size
    names = {one.name for one in head.tensors}
    assert ("output.weight" in names) != config.tie_word_embeddings
    assert ("rope_freqs.weight" in names) == (config.rope_parameters["rope_type"] == "llama3")


def test_types_of_the_tensors(tmp_path: Path) -> None:
    file = write_file(save(tmp_path / "odd", intermediate_size=80), tmp_path / "a.gguf", "q8_0")
    kinds = {one.name: one.tensor_type.name for one in GGUFReader(file).tensors}
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    assert kinds["blk.0.ffn_up.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_down.weight"] == "F16"  # 80 numbers a row are no whole blocks
    assert kinds["token_embd.weight"] == "Q8_0"


def test_queries_stand_in_the_file_in_another_order(tmp_path: Path) -> None:
    directory = save(tmp_path / "a")
    tensors = {t.name: t for t in GGUFReader(write_file(directory, tmp_path / "a.gguf")).tensors}
    stored = load_file(directory / "model.safetensors")
    written = dequantize(
        tensors["blk.1.attn_q.weight"].data, tensors["blk.1.attn_q.weight"].tensor_type
    )
    query = stored["model.layers.1.self_attn.q_proj.weight"].half().float().numpy()
    assert not np.array_equal(written, query)
    assert np.array_equal(written, by_the_definition(query, 4))


def by_the_definition(weight: np.ndarray, heads: int) -> np.ndarray:
    """Row h·d + s·d/2 + i goes to h·d + 2i + s, one row at a time."""
    wide = len(weight) // heads
    made = np.empty_like(weight)
    for head in range(heads):
        for half in range(2):
            for i in range(wide // 2):
                made[head * wide + 2 * i + half] = weight[head * wide + half * wide // 2 + i]
    return made


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_rows_go_where_the_definition_says(heads: int, pairs: int, columns: int) -> None:
    rows = heads * pairs * 2
    weight = np.arange(rows * columns, dtype=np.float64).reshape(rows, columns)
    assert np.array_equal(permuted(weight, heads), by_the_definition(weight, heads))


def test_rounding_loses_what_a_format_loses() -> None:
    weight = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    scale = np.abs(weight.reshape(8, 2, 32)).max(axis=2, keepdims=True) / 127
    eight = rounded(weight, "q8_0").reshape(8, 2, 32)
    # Half a step, and what float16 loses of the scale itself.
    assert np.all(np.abs(eight - weight.reshape(8, 2, 32)) <= scale * (0.5 + 127 * 2**-11) + 1e-7)
    assert np.array_equal(rounded(weight, "f16"), weight.astype(np.float16).astype(np.float32))
    assert np.array_equal(rounded(weight[0], "q8_0"), weight[0])
    assert kind_of((8, 33), "q8_0").name == "F16"


def test_positions_are_scaled_as_transformers_scales_them(tmp_path: Path) -> None:
    own = open_llama(save(tmp_path / "a", rope_parameters=SCALED, max_position_embeddings=16_384))
    factors = rope_factors(own.model.config)
    assert factors is not None
    plain = 500_000.0 ** (-np.arange(0, 16, 2) / 16)
    assert np.allclose(plain / factors, own.model.model.rotary_emb.inv_freq.numpy(), rtol=1e-6)
    assert (factors.min(), factors.max()) == (1.0, 8.0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"model_type": "qwen2"}, "it is of the qwen2 kind"),
            ({"hidden_act": "gelu"}, "its activation is gelu"),
            ({"attention_bias": True}, "its maps have biases"),
            ({"mlp_bias": True}, "its maps have biases"),
            (
                {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
                "its positions are scaled by 'linear'",
            ),
        ],
    )
    def test_what_is_unlike_a_llama(
        self, tmp_path: Path, changes: dict[str, object], said: str
    ) -> None:
        directory = save(tmp_path / "a")
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(BadData, match=said):
            require_llama(AutoConfig.from_pretrained(directory), "a")

    def changed(self, directory: Path, **changes: torch.Tensor | None) -> None:
        file = directory / "model.safetensors"
        stored = {**load_file(file), **{name.replace("__", "."): t for name, t in changes.items()}}
        save_file({name: t for name, t in stored.items() if t is not None}, file)

    def test_a_tensor_that_no_llama_has(self, tmp_path: Path) -> None:
        directory = save(tmp_path / "a")
        self.changed(directory, extra__weight=torch.zeros(2))
        with pytest.raises(BadData, match=r"'extra\.weight', which no Llama has"):
            plan_tensors(directory, AutoConfig.from_pretrained(directory), "f16")

    def test_a_tensor_that_is_missing(self, tmp_path: Path) -> None:
        directory = save(tmp_path / "a")
        self.changed(directory, model__layers__2__mlp__up_proj__weight=None)
        with pytest.raises(BadData, match=r"lacks blk\.2\.ffn_up\.weight"):
            plan_tensors(directory, AutoConfig.from_pretrained(directory), "f16")

    def test_a_buffer_of_old_directories_is_left_out(self, tmp_path: Path) -> None:
        directory = save(tmp_path / "a")
        self.changed(directory, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(8))
        planned = plan_tensors(directory, AutoConfig.from_pretrained(directory), "f16")
        assert len(planned) == 4 * 9 + 3

    @pytest.mark.parametrize(("number", "said"), [(1e5, "F16 cannot hold"), (np.nan, "none")])
    def test_a_number_that_cannot_be_written(
        self, tmp_path: Path, number: float, said: str
    ) -> None:
        directory = save(tmp_path / "a")
        weight = load_file(directory / "model.safetensors")["lm_head.weight"]
        weight[3, 4] = number
        self.changed(directory, lm_head__weight=weight)
        with pytest.raises(BadData, match=said):
            write_file(directory, tmp_path / "a.gguf")

    def test_a_damaged_directory(self, tmp_path: Path) -> None:
        directory = save(tmp_path / "a")
        config = AutoConfig.from_pretrained(directory)
        (directory / "model.safetensors").write_bytes(b"nothing")
        with pytest.raises(BadData, match=r"cannot read .*model\.safetensors"):
            plan_tensors(directory, config, "f16")


def test_bfloat16_and_several_files(tmp_path: Path) -> None:
    whole = save(tmp_path / "a")
    split = save(tmp_path / "b")
    stored = {name: t.bfloat16() for name, t in load_file(split / "model.safetensors").items()}
    (split / "model.safetensors").unlink()
    names = sorted(stored)
    parts = {"model-00001-of-00002.safetensors": names[:20]}
    parts["model-00002-of-00002.safetensors"] = names[20:]
    for file, some in parts.items():
        save_file({name: stored[name] for name in some}, split / file, metadata={"format": "pt"})
    index = {name: file for file, some in parts.items() for name in some}
    written = json.dumps({"metadata": {}, "weight_map": index})
    (split / "model.safetensors.index.json").write_text(written)
    file = open_llama(write_file(split, tmp_path / "b.gguf"))
    assert torch.allclose(logits(open_llama(split)), logits(file), atol=1e-4)
    assert not torch.allclose(logits(open_llama(whole)), logits(file), atol=1e-4)
