r"""How concentrated the attention of a layer is: entropies of its rows, one layer at a time.

With A the attention of a head and v_i the number of tokens that token i may look at
(`packed.sees`: the prefix and its own candidate, up to itself),

    H(A_i) = −Σ_j A_ij log A_ij                       nats, at most log v_i

    attention-concentration (ours)   C_l = 1 − mean_{heads, i: v_i ≥ 2} H(A_i) / log v_i
    attention-published              C_l = 1 / (1 + mean_heads Σ_i H(A_i))

The published form adds up rows, so a longer request makes every layer look less
concentrated; ours lies between 0 (every row uniform) and 1 (every row looks at one token)
whatever the length. Much of either is the attention paid to the first token, a sink in most
trained models. A request in several packs repeats its prefix; its rows count once, so
neither depends on how candidates fell into packs.

Source: the published form, the Adaptive Layer Truncation supplement, algorithm S2.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from distill.importance.requests import PackedRequest
from recommender.backends.packed import Pack, sees
from recommender.backends.passes import pack_hidden
from storage.errors import BadData

Array = npt.NDArray[np.float64]
Reduce = Callable[[int, Tensor], None]


@dataclass(frozen=True, slots=True, eq=False)
class AttentionSample:
    """What one request gave, from one forward pass.

    >>> AttentionSample(np.ones(2), np.ones(2), 0.1).concentration.shape
    (2,)
    """

    concentration: Array
    """(layers,) 1 − normalised entropy, between 0 and 1."""
    published: Array
    """(layers,) 1 / (1 + summed entropy)."""
    seconds: float


def row_entropy(attention: Tensor) -> Tensor:
    """Give H(A_i) = −Σ_j A_ij log A_ij of every row, in nats, with 0·log 0 = 0.

    Head by head, so that no second array as large as the attention is held. Logarithms are
    taken in float32 and added up in float64.

    Args:
        attention: (heads, T, S), rows that add up to 1.

    Returns:
        (heads, T) float64.

    >>> row_entropy(torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])).tolist()
    [[0.0, 0.6931471824645996]]
    """
    return torch.stack(
        [torch.special.entr(head.float()).sum(dim=-1, dtype=torch.float64) for head in attention]
    )


def concentration(entropy: npt.ArrayLike, visible: npt.ArrayLike) -> float:
    """Give C = 1 − mean over heads and rows with v_i ≥ 2 of H_i / log v_i.

    A row that sees one token cannot but look at it and says nothing.

    Args:
        entropy: (heads, T) nats.
        visible: (T,) how many tokens each row sees.

    Raises:
        ValueError: no row sees two tokens.

    >>> concentration([[0.0, float(np.log(2)), 0.0]], [1, 2, 3])
    0.5
    """
    rows = np.asarray(entropy, dtype=np.float64)
    seen = np.asarray(visible)
    useful = seen >= 2
    if not useful.any():
        raise ValueError("no token sees another one: there is no attention to measure")
    return float(1 - np.mean(rows[:, useful] / np.log(seen[useful])))


def published_concentration(entropy: npt.ArrayLike) -> float:
    """Give C = 1 / (1 + H), H the entropies summed over rows, the mean over heads.

    Args:
        entropy: (heads, T) nats.

    Source: Adaptive Layer Truncation supplement, S2.

    >>> published_concentration([[0.5, 0.5], [1.0, 2.0]])
    0.3333333333333333
    """
    total = np.asarray(entropy, dtype=np.float64).sum(axis=1).mean()
    return float(1 / (1 + total))


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """While entered, attention is computed in the open, where its probabilities exist.

    A pack's additive mask is honoured by transformers' eager attention as by its others.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=1, num_attention_heads=2))
    >>> with eager_attention(model):
    ...     model.config._attn_implementation
    'eager'
    >>> model.config._attn_implementation
    'sdpa'
    """
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation("eager")
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def watched_attention(model: Any, reduce: Reduce) -> Iterator[None]:
    """While entered, hand each layer's attention to `reduce` as it arises, and drop it.

    Args:
        model: a causal language model in the Llama layout.
        reduce: gets the layer and its (heads, T, T) of the first sample. It must not keep
            the array if one layer at a time is to be in memory.

    Raises:
        BadData: the model does not give its attention, while it is run.

    >>> from recommender.backends.packed import pack
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=2, num_attention_heads=2))
    >>> with watched_attention(model, lambda layer, a: print(layer, tuple(a.shape))):
    ...     _ = pack_hidden(model, pack([1, 2], [[3]]))
    0 (2, 2, 2)
    1 (2, 2, 2)
    """
    with ExitStack() as stack:
        stack.enter_context(eager_attention(model))
        for layer, block in enumerate(model.model.layers):
            handle = block.self_attn.register_forward_hook(partial(_hand_over, layer, reduce))
            stack.callback(handle.remove)
        yield


def _hand_over(
    layer: int,
    reduce: Reduce,
    module: nn.Module,
    _args: object,
    output: tuple[Tensor, Tensor | None],
) -> tuple[Tensor, None]:
    mixed, probabilities = output
    if probabilities is None:
        raise BadData(f"{type(module).__name__} does not give its attention, so it has no entropy")
    reduce(layer, probabilities[0])
    return mixed, None


def attention_sample(model: Any, request: PackedRequest) -> AttentionSample:
    """Measure one request with one forward pass of each of its packs.

    Args:
        model: a causal language model in the Llama layout. Left exactly as it was.
        request: what is run; its head is not.

    Raises:
        BadData: the model does not give its attention.
        ValueError: no token of the request sees another one.

    >>> from recommender.backends.packed import pack
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=3, num_attention_heads=2))
    >>> found = attention_sample(model, PackedRequest((pack([1, 2, 3], [[4, 5], [6]]),), 0))
    >>> found.concentration.shape, bool((found.concentration < 0.5).all())  # nearly uniform
    ((3,), True)
    """
    started = time.perf_counter()
    entropies: list[list[Array]] = [[] for _ in model.model.layers]
    seen: list[npt.NDArray[np.int64]] = []
    for number, one in enumerate(request.packs):
        begin = one.prefix if number else 0  # the prefix has been counted in the first pack
        seen.append(visible(one)[begin:])

        def reduce(layer: int, attention: Tensor, begin: int = begin) -> None:
            entropies[layer].append(row_entropy(attention[:, begin:]).cpu().numpy())

        with torch.inference_mode(), watched_attention(model, reduce):
            pack_hidden(model, one)
    rows = np.concatenate(seen)
    layers = [np.concatenate(found, axis=1) for found in entropies]
    return AttentionSample(
        concentration=np.array([concentration(entropy, rows) for entropy in layers]),
        published=np.array([published_concentration(entropy) for entropy in layers]),
        seconds=time.perf_counter() - started,
    )


def visible(one: Pack) -> npt.NDArray[np.int64]:
    """Count the tokens that each token of a pack may look at, itself among them: (T,).

    >>> from recommender.backends.packed import pack
    >>> visible(pack([7, 8], [[1, 2], [3, 4, 5]])).tolist()
    [1, 2, 3, 3, 4]
    """
    return np.asarray(sees(one).sum(axis=1), dtype=np.int64)
