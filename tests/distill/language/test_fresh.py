"""Llamas from scratch: one seed, one network; shapes; and how large they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from distill.language.counting import ParameterCount, count, counted
from distill.language.cutting import cut
from distill.language.fresh import fresh, fresh_config
from distill.language.settings import FRESH
from recommender.backends.weights import quiet_transformers
from storage.errors import BadSetting
from tests.distill.importance.llamas import llama, other
from tests.distill.language.classroom import same, weights_of

LLAMA3 = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14_336,
    "max_position_embeddings": 8192,
}
IDS = torch.tensor([[3, 9, 9, 14, 3, 22, 7]])


@pytest.fixture(params=["llama", "qwen2", "qwen3"])
def teacher(request: pytest.FixtureRequest) -> Any:
    return llama() if request.param == "llama" else other(request.param)


def numel(model: Any) -> int:
    return sum(weight.numel() for weight in set(model.parameters()))


# --- what is built -----------------------------------------------------------------------


def test_one_seed_is_one_network_whatever_torch_drew_before(teacher: Any) -> None:
    first = fresh(teacher, 2, 24, 3, seed=5)
    torch.manual_seed(77)
    state = torch.get_rng_state()
    again = fresh(teacher, 2, 24, 3, seed=5)
    assert torch.equal(torch.get_rng_state(), state), "torch's own chance is left alone"
    assert same(weights_of(first), weights_of(again))
    unlike = weights_of(fresh(teacher, 2, 24, 3, seed=6))
    assert all(
        not torch.equal(weight, unlike[name])
        for name, weight in weights_of(first).items()
        if weight.ndim == 2
    )


def test_weights_are_drawn_as_it_says(teacher: Any) -> None:
    model = fresh(teacher, 3, 48, 6, seed=0)
    for name, weight in model.named_parameters():
        assert weight.requires_grad
        assert weight.dtype == torch.float32
        if weight.ndim == 2:
            off = 4 * 0.02 / (2 * weight.numel()) ** 0.5  # four standard errors
            assert weight.std().item() == pytest.approx(0.02, abs=off), name
            assert abs(weight.mean().item()) < 4 * 0.02 / weight.numel() ** 0.5, name
        else:
            value = 0.0 if name.endswith("bias") else 1.0
            assert torch.equal(weight.detach(), torch.full_like(weight, value)), name


def test_it_reads_what_the_teacher_reads_and_is_one_of_its_kind(teacher: Any) -> None:
    before = teacher.config.to_dict()
    model = fresh(teacher, 2, 24, 3, seed=0)
    assert type(model) is type(teacher)
    assert model.config.vocab_size == teacher.config.vocab_size
    assert model.config.rope_parameters == teacher.config.rope_parameters
    assert model.config.tie_word_embeddings == teacher.config.tie_word_embeddings
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    assert tied == teacher.config.tie_word_embeddings
    assert teacher.config.to_dict() == before
    assert model(input_ids=IDS).logits.shape == (1, 7, 61)


def test_from_its_files_it_gives_the_same_bits(teacher: Any, tmp_path: Path) -> None:
    model = fresh(teacher, 2, 24, 3, seed=0).eval()
    with quiet_transformers():
        model.save_pretrained(tmp_path)
        opened = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(opened(input_ids=IDS).logits, model(input_ids=IDS).logits)
    assert same(weights_of(opened), weights_of(model))


@pytest.mark.parametrize(
    ("hidden", "heads", "keys", "inner"),
    [(24, 3, 1, 64), (24, 2, 2, 64), (36, 6, 2, 128), (48, 1, 1, 128), (96, 12, 4, 256)],
)
def test_heads_and_inner_width(hidden: int, heads: int, keys: int, inner: int) -> None:
    model = fresh(llama(), 1, hidden, heads, seed=0)
    attention, wide = model.model.layers[0].self_attn, hidden // heads
    assert attention.head_dim == wide
    assert attention.q_proj.weight.shape == (heads * wide, hidden)
    assert attention.k_proj.weight.shape == attention.v_proj.weight.shape == (keys * wide, hidden)
    assert attention.o_proj.weight.shape == (hidden, heads * wide)
    assert model.model.layers[0].mlp.gate_proj.weight.shape == (inner, hidden)
    assert inner % 64 == 0
    assert 0 <= inner - 8 * hidden / 3 < 64


@pytest.mark.parametrize(("hidden", "heads"), [(25, 2), (15, 3), (9, 9)])
def test_widths_without_such_heads_are_refused(hidden: int, heads: int) -> None:
    with pytest.raises(BadSetting, match=f"{hidden} cannot be split into {heads} heads"):
        fresh(llama(), 1, hidden, heads, seed=0)


# --- how large it is ---------------------------------------------------------------------

CONFIGS = {
    "plain": (LlamaConfig, LlamaForCausalLM, {}),
    "tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "biased": (LlamaConfig, LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}),
    "grouped": (LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 2}),
    "wide heads": (LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 1, "head_dim": 10}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {"num_key_value_heads": 2}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"num_key_value_heads": 2, "head_dim": 10}),
    "qwen3, biased": (
        Qwen3Config,
        Qwen3ForCausalLM,
        {"num_key_value_heads": 2, "head_dim": 8, "attention_bias": True},
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_counts_what_is_built(name: str) -> None:
    config_class, model_class, more = CONFIGS[name]
    shape = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48}
    config = config_class(**shape, num_hidden_layers=3, num_attention_heads=4, **more)
    model = model_class(config)
    said = counted(config)
    assert said == count(model)
    assert said.total == numel(model)
    assert (said.head == 0) == bool(more.get("tie_word_embeddings"))
    smaller = counted(config, layers=1)
    assert said.body - smaller.body == 2 * numel(model.model.layers[0])
    assert (smaller.embedding, smaller.head) == (said.embedding, said.head)


def test_a_cut_and_a_fresh_one_are_counted(teacher: Any) -> None:
    for student in (cut(teacher, (0, 2)), fresh(teacher, 2, 24, 3, seed=0)):
        assert count(student) == counted(student.config)
        assert count(student).total == numel(student)


@pytest.mark.parametrize(
    ("name", "body", "embedding"),
    [("compact", 75.5, 98.5), ("tiny", 19.3, 65.7), ("micro", 6.3, 49.3)],
)
def test_named_sizes_with_llama_3s_vocabulary(name: str, body: float, embedding: float) -> None:
    """In millions; the paper says 768, 196 and 98 (algorithms.md I14).

    There are fewer keys than heads where heads are a multiple of three, hence a little less
    than the 85 and 7 of a network with as many.
    """
    teacher = LlamaConfig(**LLAMA3, tie_word_embeddings=True)
    said = counted(fresh_config(teacher, *FRESH[name]))
    assert said.body / 1e6 == pytest.approx(body, abs=0.05)
    assert said.embedding / 1e6 == pytest.approx(embedding, abs=0.05)
    assert said.head == 0


@pytest.mark.parametrize("name", ["tiny", "micro", pytest.param("compact", marks=pytest.mark.slow)])
def test_named_sizes_are_built_as_counted(name: str) -> None:
    layers, hidden, heads = FRESH[name]
    model = fresh(llama(tied=True), layers, hidden, heads, seed=0)
    assert (len(model.model.layers), model.config.hidden_size) == (layers, hidden)
    said = counted(fresh_config(llama(tied=True).config, layers, hidden, heads))
    assert said == count(model)
    assert said.total == numel(model)


def test_llama_3_cut_from_32_layers_to_8() -> None:
    """2.80 billion are left, 65 % less and not 75 %, of which the tables are 1.05 (I14)."""
    config = LlamaConfig(**LLAMA3)
    small = counted(config, layers=8)
    assert small.total / 1e9 == pytest.approx(2.80, abs=0.005)
    assert (small.embedding + small.head) / 1e9 == pytest.approx(1.05, abs=0.005)
    assert 1 - small.total / counted(config).total == pytest.approx(0.65, abs=0.005)
    assert ParameterCount(1, 2, 3).total == 6
