from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from distill.importance.gradients.fisher import FisherRequest, fisher_pass
from distill.teacher import history_states, to_half
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend, model_card


@pytest.fixture(scope="module")
def backend() -> EmbeddedBackend:
    torch.manual_seed(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.2,
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    model = LlamaForCausalLM(config).eval()
    card = model_card(
        model, tokenizer, name="tiny", digest="none", precision="float32", source="made here"
    )
    return EmbeddedBackend(model, tokenizer, card)


def test_three_roads_to_one_state(backend: EmbeddedBackend) -> None:
    prompts = [Prompt(("Alien", "Heat"), noun="movies"), Prompt((), noun="movies")]
    titles = ("Up", "Jaws (1975)", "Heat 2")
    alone = list(history_states(backend, prompts, (0, 1, 2)))
    assert all(state.dtype == np.float16 and state.shape == (3, 16) for state in alone)
    asked = [FisherRequest(prompt, titles, target=1) for prompt in prompts]
    samples = list(fisher_pass(backend, asked, temperature=5.0))
    for prompt, state, sample in zip(prompts, alone, samples, strict=True):
        scores = backend.likelihood(prompt, titles, states_of=(0, 1, 2))
        np.testing.assert_allclose(scores.states, state, rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(sample.states, scores.states, atol=1e-4)
        np.testing.assert_allclose(sample.scores, scores.logprobs, atol=1e-4)
        assert sample.tokens == scores.tokens


def test_a_pass_that_is_closed_leaves_the_model_alone(backend: EmbeddedBackend) -> None:
    asked = [FisherRequest(Prompt(("Alien",)), ("Up", "Heat"), 0)] * 3
    running = fisher_pass(backend, asked, temperature=5.0)
    first = next(running)
    assert not any(m._forward_hooks for m in backend.model.modules())  # also between two
    running.close()
    assert all(p.requires_grad and p.grad is None for p in backend.model.parameters())
    again = next(fisher_pass(backend, asked, temperature=5.0))
    assert first.layers.tolist() == again.layers.tolist()


@pytest.mark.parametrize("value", [np.inf, np.nan, 70000.0])
def test_a_state_that_does_not_fit_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        to_half(np.array([value], dtype=np.float32))
