"""What a pass of `ghost` keeps for its way back, in bytes, by running it, with or without weights.

On `torch.device("meta")` a model has shapes and no numbers, so one of any size runs at once. What
autograd saves is heard through `saved_tensors_hooks`, what `ghost` keeps through hooks like its
own; two tensors in one storage count once, weights not at all. One thing is not run but written
down: the device's attention in one piece, which saves its inputs, its output and one number a row
and head. Without numbers torch would take the long way round and keep every token-to-token weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from distill.importance.gradients.modules import frozen, has_weights
from recommender.backends.packed import Pack
from recommender.backends.passes import rows_hidden


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a pass keeps."""

    saved: int
    """By autograd."""
    inputs: int
    """By the hooks of `ghost`, and not by autograd already: inputs, and states between blocks."""
    lasting: int
    """With checkpointing: the states between blocks, and what lies outside them."""
    inside: int
    """With checkpointing: what autograd saves inside the block that holds most."""
    inside_inputs: int
    """And what the hooks keep there besides."""


def footprint(model: Any, packs: Sequence[Pack]) -> Footprint:
    """Run packs side by side up to the final norm and count what is kept.

    Args:
        model: A causal language model in the Llama layout, on any device; left as it was.
        packs: What is run; on 'meta' only lengths matter.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from recommender.backends.packed import pack
    >>> with torch.device("meta"):
    ...     model = LlamaForCausalLM(LlamaConfig(vocab_size=32, hidden_size=8,
    ...         intermediate_size=16, num_hidden_layers=4, num_attention_heads=2))
    >>> one, two = (footprint(model, [pack([1, 2, 3], [[4, 5]])] * n) for n in (1, 2))
    >>> two.saved == 2 * one.saved, two.inputs == 2 * one.inputs, one.lasting < one.saved
    (True, True, True)
    """
    weight: Tensor = model.model.embed_tokens.weight
    shape = (len(packs), max(map(len, packs)), weight.shape[1])
    leaf = torch.zeros(shape, dtype=weight.dtype, device=weight.device, requires_grad=True)
    kept = _Kept([*model.parameters(), *model.buffers()])
    kept.states([leaf])
    with ExitStack() as stack:
        stack.enter_context(frozen(model))
        stack.enter_context(torch.enable_grad())
        for handle in kept.hooks(model):
            stack.callback(handle.remove)
        if weight.is_meta:
            stack.enter_context(_InOnePiece())
        hooks = torch.autograd.graph.saved_tensors_hooks(kept.save, lambda tensor: tensor)
        stack.enter_context(hooks)
        kept.states([rows_hidden(model, packs, leaf)])
    return kept.counted()


class _Kept:
    """Storages by whom they are kept and in which block; held, so that none is counted anew."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._weights = {_key(one) for one in weights}
        self._block: int | None = None
        self._sizes: dict[int, int] = {}
        self._held: list[Tensor] = []
        self._saved: set[int] = set()
        self._states: set[int] = set()
        self._places: dict[int, set[int | None]] = {}

    def hooks(self, model: Any) -> list[Any]:
        """Put hooks where `ghost` has its own; return their handles."""
        handles = [
            module.register_forward_pre_hook(self._input)
            for module in model.model.modules()
            if has_weights(module) and not isinstance(module, nn.Embedding)
        ]
        for number, block in enumerate(model.model.layers):
            handles.append(block.register_forward_pre_hook(partial(self._enter, number)))
            handles.append(block.register_forward_hook(self._leave))
        return handles

    def save(self, tensor: Tensor) -> Tensor:
        """Write down what autograd saves."""
        if self._keep(tensor):
            self._saved.add(_key(tensor))
        return tensor

    def states(self, tensors: Iterable[Tensor]) -> None:
        """Write down what stands between blocks, or at the ends."""
        for tensor in tensors:
            self._keep(tensor)
            self._states.add(_key(tensor))

    def counted(self) -> Footprint:
        """Add up what was written down."""
        lasting = self._states | {
            key for key, places in self._places.items() if None in places or len(places) > 1
        }
        insides: dict[int | None, set[int]] = {None: set()}
        for key in self._places.keys() - lasting:
            (place,) = self._places[key]
            insides.setdefault(place, set()).add(key)
        most = max(insides.values(), key=self._size)
        return Footprint(
            saved=self._size(self._saved),
            inputs=self._size(self._places.keys() - self._saved),
            lasting=self._size(lasting),
            inside=self._size(most & self._saved),
            inside_inputs=self._size(most - self._saved),
        )

    def _size(self, keys: Iterable[int]) -> int:
        return sum(self._sizes[key] for key in keys)

    def _keep(self, tensor: Tensor) -> bool:
        key = _key(tensor)
        if key in self._weights:
            return False
        self._held.append(tensor)
        self._sizes[key] = tensor.untyped_storage().nbytes()
        self._places.setdefault(key, set()).add(self._block)
        return True

    def _input(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._keep(args[0])

    def _enter(self, number: int, _block: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.states(args[:1])
        self._block = number

    def _leave(self, _block: nn.Module, _args: object, output: Any) -> None:
        self._block = None
        self.states([output if isinstance(output, Tensor) else output[0]])


def _key(tensor: Tensor) -> int:
    # On 'meta' all data lie at 0; the object that would hold them has an address all the same.
    address: int = tensor.untyped_storage()._cdata
    return address


class _OnePiece(torch.autograd.Function):
    """Attention as a device runs it in one piece: shapes, and what is saved."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        n, heads, tokens, width = q.shape
        # Laid out by token first, so that the heads of a token can be put together in place.
        output = q.new_empty(n, tokens, heads, width).transpose(1, 2)
        rows = torch.empty(n, heads, tokens, dtype=torch.float32, device=q.device)
        ctx.save_for_backward(q, k, v, mask, output, rows)
        return output


class _InOnePiece(TorchFunctionMode):
    """While entered, attention saves what it would save on a device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention:
            return _OnePiece.apply(*args[:3], named["attn_mask"])  # type: ignore[no-untyped-call]
        return func(*args, **named)
