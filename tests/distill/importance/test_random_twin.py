"""The random twin: of one shape with the model, of other weights, and nothing is disturbed."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from distill.importance.random_twin import random_twin

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}
KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


def model_of(kind: str, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    config, model = KINDS[kind]
    made = model(config(**{**SHAPE, **settings}))
    with torch.no_grad():  # trained: the gains and biases are no longer those of the beginning
        for p in made.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return made.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_twin_has_the_shape_of_the_model_and_other_weights(kind: str, tied: bool) -> None:
    model = model_of(kind, tie_word_embeddings=tied, attn_implementation="eager")
    model.get_parameter("model.norm.weight").requires_grad_(False)
    twin = random_twin(model, 3)
    assert type(twin) is type(model)
    own, other = dict(twin.named_parameters()), dict(model.named_parameters())
    assert list(own) == list(other)
    for name, p in own.items():
        assert p.shape == other[name].shape
        assert (p.dtype, p.device) == (other[name].dtype, other[name].device)
        assert p.requires_grad is other[name].requires_grad
        assert not torch.equal(p, other[name]), name
    assert (twin.lm_head.weight is twin.model.embed_tokens.weight) is tied
    assert twin.config.to_dict() == model.config.to_dict()
    assert twin.config is not model.config
    assert twin.config._attn_implementation == "eager"
    assert not twin.training


def test_weights_are_as_the_library_initialises_them() -> None:
    twin = random_twin(model_of("llama"), 0)
    weights = twin.model.layers[1].mlp.up_proj.weight
    assert weights.std().item() == pytest.approx(0.2, rel=0.1)
    assert abs(weights.mean().item()) < 0.02
    assert (twin.model.norm.weight == 1).all()


def test_the_seed_decides() -> None:
    model = model_of("llama")
    one, again, other = (random_twin(model, seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_model_and_the_generators_are_left_as_they_were() -> None:
    model = model_of("llama").train()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    twin = random_twin(model, 5)
    assert twin.training
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert model.training
    for name, p in model.state_dict().items():
        assert torch.equal(p, before[name])


def test_a_twin_that_cannot_be_made_leaves_the_generators_too() -> None:
    model = model_of("llama")
    model.config.hidden_act = "none of them"
    state = torch.get_rng_state()
    with pytest.raises(KeyError):
        random_twin(model, 5)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loaded_bfloat16_model_has_a_bfloat16_twin_of_the_same_positions(tmp_path) -> None:
    model_of("llama").save_pretrained(tmp_path)
    model = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    twin = random_twin(model, 5)
    assert {p.dtype for p in twin.parameters()} == {torch.bfloat16}
    ours, theirs = dict(twin.named_buffers()), dict(model.named_buffers())
    assert ours.keys() == theirs.keys()
    for name, buffer in ours.items():
        assert buffer.dtype == theirs[name].dtype
        assert torch.equal(buffer, theirs[name])
    # The same draws as in float32, rounded.
    exact = random_twin(model_of("llama"), 5).lm_head.weight
    assert torch.equal(twin.lm_head.weight, exact.to(torch.bfloat16))
    logits = twin(torch.tensor([[1, 2, 3]])).logits
    assert torch.isfinite(logits).all()
