"""A pass through a Llama whose weight gradients are measured and never formed.

Hooks keep what goes into every weight and what comes back to it; `norms` says what follows
from the two. One way back gives, for each sample and each block of the model:

- ‖G_W‖² of every weight W, and its per-position mean;
- the gate derivative ∂ℓ/∂a_l at a_l = 1 of h_l = h_{l−1} + a_l f_l(h_{l−1}), which is
  Σ_t ⟨∂ℓ/∂h_{l,t}, f_{l,t}⟩;
- the weight-direction derivative Σ_{W in block} ⟨G_W, W⟩, which is how ℓ changes when all weights
  of the block grow by one factor. For a linear layer ⟨G, W⟩ = Σ_t b_t·(W a_t) =
  Σ_t a_t·∂ℓ/∂a_t by way of W, and the second form needs no outputs: inputs are kept anyway, and
  layers that read one tensor are summed as its gradient arrives.

The way there gives the Block Influence of every block. Source: algorithms.md §1.3, §4.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from distill.importance.forward.influence import block_influence
from distill.importance.gradients.head import token_logprobs
from distill.importance.gradients.modules import (
    PREFIX,
    epsilon,
    frozen,
    has_weights,
    is_rms,
    layer_of,
)
from distill.importance.gradients.norms import (
    embedding_square,
    gain_terms,
    head_columns,
    linear_square,
    position_squares,
    square_sum,
    tied_cross,
)
from distill.importance.gradients.recomputing import Recomputing
from recommender.backends.packed import Pack
from recommender.backends.passes import row_ids, rows_hidden
from storage.errors import BadData

Pair = tuple[Tensor, Tensor]

ROWWISE = (
    "self_attn.q_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
"""Behind the last block's keys and values, a token is itself alone: gradients reach only the
tokens that predict something, and in these weights the others are left out."""


class GhostNorms:
    """While entered, runs packs and measures the gradients of every weight of a Llama.

    Each row of a batch is a sample, and the loss given to `backward` is the *sum* over them; a
    mean would divide every norm by n². A sample may instead be spread over several passes of one
    row: their tokens count as those of one sequence. Weights are frozen meanwhile and left as
    they were; none gets a `.grad`.

    After `backward`, all float64 and with the samples first: `squares` and `positions` for each
    module with weights of its own, by its name (weight and bias together), `gates`, `directions`
    and `influence` (n, layers), `embedding` and `head` for the two vocabulary matrices, `tied`
    for the one that is both, None where they are two.
    """

    squares: dict[str, Tensor]
    positions: dict[str, Tensor]
    embedding: Tensor
    head: Tensor
    tied: Tensor | None
    _arrived: dict[str, list[Pair]]
    _heads: list[tuple[Tensor, Tensor, Tensor]]

    def __init__(self, model: Any, *, checkpoint: bool = False) -> None:
        """Look over `model`.

        Args:
            model: A causal language model in the Llama layout.
            checkpoint: Keep one state a block and run each block again on the way back, for
                one more way there: the same numbers in a fraction of the memory.

        Raises:
            BadData: It has weights of a kind whose gradient norm is not known here. None
                is passed over in silence.
        """
        self._model = model
        self._embedding: nn.Embedding = model.model.embed_tokens
        self._is_tied = model.lm_head.weight is self._embedding.weight
        self._blocks = list(model.model.layers)
        self._checkpoint = checkpoint
        self._runs = Recomputing(self._blocks if checkpoint else [])
        self._watched = {name: m for name, m in model.named_modules() if has_weights(m)}
        for name, module in self._watched.items():
            if not (isinstance(module, nn.Linear) or module is self._embedding or is_rms(module)):
                raise BadData(f"no gradient norm for {name!r}, a {type(module).__name__}")

    def __enter__(self) -> GhostNorms:
        """Freeze the weights and put the hooks in."""
        self._entered = ExitStack()
        self._entered.enter_context(frozen(self._model))
        self._passes: list[_Pass] = []
        self._calls: dict[str, int] = {}
        self._clear()
        handles = [
            module.register_forward_hook(partial(self._forward, name))
            for name, module in self._watched.items()
            if module is not self._embedding and module is not self._model.lm_head
        ]
        handles += [
            block.register_forward_hook(partial(self._block, number))
            for number, block in enumerate(self._blocks)
        ]
        if self._checkpoint:
            handles += [
                module.register_forward_pre_hook(self._again)
                for block in self._blocks
                for module in block.modules()
                if has_weights(module)
            ]
        for handle in handles:
            self._entered.callback(handle.remove)
        self._entered.enter_context(self._runs)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the hooks out and give the weights back as they were."""
        self._entered.close()
        self._passes = []
        self._clear()

    @property
    def influence(self) -> Tensor:
        """Block Influence of each sample, (n, layers), over all tokens of its passes."""
        tokens = torch.stack([one.lengths for one in self._passes]).sum(0)
        total = torch.stack([one.influence for one in self._passes]).sum(0)
        return total / tokens[:, None]

    def run(self, packs: Sequence[Pack]) -> list[Tensor]:
        """Run packs side by side, each a row, and give the title log-probabilities of each.

        Raises:
            ValueError: Several packs after several: a sample of many passes is one row each time.
        """
        if self._passes and (len(packs) > 1 or len(self._passes[0].lengths) > 1):
            raise ValueError("samples of several passes are run one at a time")
        ids = row_ids(packs).to(self._embedding.weight.device)
        leaf: Tensor = self._embedding(ids).detach().requires_grad_(True)
        now = _Pass(packs, ids, leaf, len(self._blocks))
        self._passes.append(now)
        hidden = rows_hidden(self._model, packs, leaf)
        useful = hidden[:, now.start :]
        width = useful.shape[1]
        rows = [
            torch.from_numpy(one.rows) - now.start + number * width
            for number, one in enumerate(packs)
        ]
        targets = [torch.from_numpy(one.targets) for one in packs]
        scored = token_logprobs(
            useful,
            self._model.lm_head,
            torch.cat(rows).to(ids.device),
            torch.cat(targets).to(ids.device),
            self._head_arrived,
        )
        return [
            torch.zeros(one.candidates, device=ids.device).index_add(
                0, torch.from_numpy(one.owners).to(ids.device), part
            )
            for one, part in zip(packs, torch.split(scored, [len(r) for r in rows]), strict=True)
        ]

    def backward(self, loss: Tensor, *, again: bool = False) -> None:
        """Go back from `loss` to the embeddings, once, and fill in the results.

        Args:
            loss: Summed over the rows.
            again: Keep the graph, so that another loss of the same passes can follow.
        """
        self._clear()
        grads = torch.autograd.grad(loss, [one.leaf for one in self._passes], retain_graph=again)
        for name in list(self._arrived):
            self._settle(name)
        ids = torch.cat([one.ids for one in self._passes], dim=1)
        b = torch.cat(grads, dim=1)
        self.embedding = embedding_square(ids, b)
        inputs, columns, several = zip(*self._heads, strict=True)
        if len(self._heads) > 1:
            self.head = linear_square(torch.cat(inputs, 1), torch.cat(several, 1))
        if self._is_tied:
            cross = tied_cross(b, torch.cat(inputs, 1), torch.cat(columns, 1))
            self.tied = self.embedding + self.head + 2 * cross
        self._heads = []

    def _clear(self) -> None:
        self.squares, self.positions, self.tied = {}, {}, None
        self._arrived, self._heads = {}, []
        self.gates = self.directions = torch.zeros(0)
        if self._passes:
            shape = (len(self._passes[0].lengths), len(self._blocks))
            device = self._passes[0].ids.device
            self.gates, self.directions = (
                torch.zeros(shape, dtype=torch.float64, device=device) for _ in range(2)
            )

    def _again(self, _module: nn.Module, args: Any) -> None:
        if self._runs.again:
            # Before the call: a block's second run ends inside its last one.
            self._runs.refill(args[0])

    def _forward(self, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        if self._runs.again:
            return
        if not output.requires_grad:
            raise ValueError(f"the output of {name} does not depend on GhostNorms.run")
        now, given = self._passes[-1], args[0]
        self._calls[name] = self._calls.get(name, 0) + 1
        layer = layer_of(name)
        known = self._runs.given(given)
        if layer is not None and isinstance(module, nn.Linear) and now.is_new(given):
            given.register_hook(known.hook(partial(self._direct, layer)))
        start = now.start if self._is_rowwise(name) else 0
        output.register_hook(known.hook(partial(self._backward, name, start)))  # type: ignore[no-untyped-call]

    def _backward(self, name: str, start: int, a: Tensor, b: Tensor) -> None:
        pairs = self._arrived.setdefault(name, [])
        pairs.append((a[:, start:], b.detach()[:, start:]))
        if len(pairs) == self._calls[name]:
            self._settle(name)  # now, so that activations need not wait for the whole way back

    def _settle(self, name: str) -> None:
        module = self._watched[name]
        a, b = _joined(self._arrived.pop(name))
        rowwise = self._is_rowwise(name)
        counted = torch.stack([p.predicting if rowwise else p.lengths for p in self._passes]).sum(0)
        if isinstance(module, nn.Linear):
            square, own = linear_square(a, b), position_squares(a, b)
            if module.bias is not None:
                square = square + _rows_square(b.float().sum(1))
                own = own + _rows_square(b.float().flatten(1))
        else:
            terms = gain_terms(a, b, epsilon(module))
            gradient = terms.sum(1)
            square, own = _rows_square(gradient), _rows_square(terms.flatten(1))
            layer = layer_of(name)
            if layer is not None:
                self.directions[:, layer] += (gradient * module.weight.float()).sum(1).double()
        self.squares[name], self.positions[name] = square, own / counted

    def _direct(self, layer: int, a: Tensor, b: Tensor) -> None:
        self.directions[:, layer] += _inner(a, b)

    def _block(self, number: int, _block: nn.Module, args: Any, output: Any) -> None:
        after = output if isinstance(output, Tensor) else output[0]
        before, now = args[0].detach(), self._passes[-1]
        now.influence[:, number] = block_influence(before, after.detach(), now.real) * now.lengths
        after.register_hook(partial(self._gate, number, before, after.detach()))
        now.seen.clear()

    def _gate(self, number: int, before: Tensor, after: Tensor, b: Tensor) -> None:
        self.gates[:, number] += _inner(after - before, b)

    def _head_arrived(self, a: Tensor, b: Tensor) -> None:
        a, b = a.detach(), b.detach()
        if len(self._passes) == 1:
            self.head = linear_square(a, b)
        columns = (
            [head_columns(one.ids, b) for one in self._passes] if self._is_tied else [b[..., :0]]
        )
        kept = b if len(self._passes) > 1 else b[..., :0]
        self._heads.append((a, torch.cat(columns, dim=2), kept))

    def _is_rowwise(self, name: str) -> bool:
        last = f"{PREFIX}{len(self._blocks) - 1}."
        return name == "model.norm" or name.removeprefix(last) in ROWWISE


class _Pass:
    """One pass: what was run, and what is known of it on the way there."""

    def __init__(self, packs: Sequence[Pack], ids: Tensor, leaf: Tensor, layers: int) -> None:
        starts = torch.tensor([one.prefix - 1 for one in packs], device=ids.device)
        self.ids, self.leaf = ids, leaf
        self.start = int(starts.min())
        self.lengths = torch.tensor([len(one) for one in packs], device=ids.device)
        self.predicting = self.lengths - starts
        self.real = torch.arange(ids.shape[1], device=ids.device) < self.lengths[:, None]
        self.influence = torch.zeros(len(packs), layers, dtype=torch.float64, device=ids.device)
        self.seen: dict[int, Tensor] = {}

    def is_new(self, given: Tensor) -> bool:
        """Say whether a tensor is read for the first time: three layers read one."""
        # They are held to the end of their block: an address may not be given out twice.
        new = given.data_ptr() not in self.seen
        self.seen[given.data_ptr()] = given
        return new


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Give Σ a·b of each sample in float64, rows in float32."""
    return (a.float() * b.float()).sum(-1).double().flatten(1).sum(1)


def _rows_square(x: Tensor) -> Tensor:
    return torch.stack([square_sum(row) for row in x])


def _joined(pairs: list[Pair]) -> Pair:
    if len(pairs) == 1:
        return pairs[0]
    return torch.cat([a for a, _ in pairs], dim=1), torch.cat([b for _, b in pairs], dim=1)
