"""Llamas of random weights, and what their gradients are by definition."""

from __future__ import annotations

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

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
    "attn_implementation": "sdpa",
}
PREFIX = [3, 9, 9, 14, 3, 22, 7]
CANDIDATES = [[5, 9, 1], [40, 9, 17, 22, 1], [8, 1], [5, 9, 9, 33, 1], [11, 1]]


def llama(*, tied: bool = False, kv: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, num_key_value_heads=kv, tie_word_embeddings=tied)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():  # gains of 1 would hide a forgotten gain
        for name, p in model.named_parameters():
            if "norm" in name:
                p.mul_(1 + 0.3 * torch.randn_like(p))
    return model


def other(kind: str) -> nn.Module:
    torch.manual_seed(1)
    config, model = {
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),  # biases of q, k and v
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),  # norms of each head's q and k
    }[kind]
    made = model(config(**SHAPE, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True))
    with torch.no_grad():
        for name, p in made.named_parameters():
            if name.endswith("bias"):
                p.normal_(std=0.2)
    return made.eval()


def naive_scores(
    model: nn.Module, prefix: list[int] = PREFIX, candidates: list[list[int]] = CANDIDATES
) -> torch.Tensor:
    """One pass a candidate, the definition of a title's log-probability."""
    totals = []
    for tokens in candidates:
        ids = prefix + tokens
        logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        totals.append(sum(logp[i - 1, ids[i]] for i in range(len(prefix), len(ids))))
    return torch.stack(totals)


def naive_gradients(
    model: nn.Module, target: int, temperature: float, **asked: list
) -> dict[str, torch.Tensor]:
    loss = -(naive_scores(model, **asked) / temperature).log_softmax(0)[target]
    names, weights = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def block_squares(grads: dict[str, torch.Tensor], depth: int = 4) -> list[float]:
    totals = [0.0] * depth
    for name, grad in grads.items():
        if name.startswith("model.layers."):
            totals[int(name.split(".")[2])] += grad.double().square().sum().item()
    return totals
