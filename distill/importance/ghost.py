r"""Squared norms of weight gradients, sample by sample, without ever forming the gradients.

For a linear layer y_t = W a_t with b_t = ∂ℓ/∂y_t, the gradient of one sample's loss is
G = Σ_t b_t a_tᵀ, so that with A (T×p) and B (T×q)

    ‖G‖² = ⟨A Aᵀ, B Bᵀ⟩        2T²(p+q) operations, T×T buffers
         = ‖Bᵀ A‖²              2Tpq operations, a q×p buffer

and the cheaper form is taken: the first where T < pq/(p+q). The gain of an RMSNorm has
‖Σ_t b_t ⊙ a_t/rms(a_t)‖², a bias ‖Σ_t b_t‖², an embedding Σ_{t,s} [id_t = id_s] b_t·b_s.
A matrix that is both embedding and head has the gradient G_e + G_h, whose square holds twice
the cross term ⟨G_e, G_h⟩ = Σ_t Σ_r B_head[r, id_t] (b_t · a_r); leaving it out is wrong.

Source: Goodfellow, arXiv:1510.01799; Li et al., arXiv:2110.05679, eq. 3. Products are formed
in the precision of the activations (matrix units add up in float32 also for bfloat16) and
sums of squares in float64.
"""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from storage.errors import BadData


def linear_square(a: Tensor, b: Tensor) -> Tensor:
    """Give ‖Σ_t b_t a_tᵀ‖² of each sample.

    Args:
        a: (n, T, p) inputs.
        b: (n, T, q) gradients of the summed loss by the outputs.

    Returns:
        (n,) float64.

    >>> linear_square(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [1.0]]])).tolist()
    [25.0]
    """
    t, p, q = a.shape[1], a.shape[2], b.shape[2]
    if t * (p + q) < p * q:
        grams = (a @ a.mT).float() * (b @ b.mT).float()
        return grams.sum(dim=(1, 2), dtype=torch.float64)
    return _square(b.mT @ a, (1, 2))


def gain_square(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Give the squared gradient norm of an RMSNorm's gain, of each sample.

    Args:
        a: (n, …, width) inputs.
        b: (n, …, width) gradients by the outputs.
        eps: What the norm adds to the mean square.

    >>> x = torch.tensor([[[3.0, 3.0]]])
    >>> round(gain_square(x, torch.ones(1, 1, 2), 0.0).item(), 6)
    2.0
    """
    a = a.float()
    unit = a * torch.rsqrt(a.square().mean(-1, keepdim=True) + eps)
    return _square((b.float() * unit).reshape(len(a), -1, a.shape[-1]).sum(1), (1,))


def embedding_square(ids: Tensor, b: Tensor) -> Tensor:
    """Give the squared gradient norm of an embedding matrix, of each sample.

    Args:
        ids: (n, T) token numbers.
        b: (n, T, width) gradients by the looked-up rows.

    >>> embedding_square(torch.tensor([[5, 5, 6]]), torch.ones(1, 3, 1)).tolist()
    [5.0]
    """
    squares = []
    for row, grads in zip(ids, b.double(), strict=True):
        kinds, place = row.unique(return_inverse=True)
        sums = torch.zeros(len(kinds), grads.shape[-1], dtype=grads.dtype, device=grads.device)
        squares.append(sums.index_add(0, place, grads).square().sum())
    return torch.stack(squares)


def tied_cross(ids: Tensor, b: Tensor, a_head: Tensor, b_head: Tensor) -> Tensor:
    """Give ⟨G_embedding, G_head⟩ of each sample for a matrix that is both.

    Args:
        ids: (n, T) token numbers.
        b: (n, T, width) gradients by the looked-up rows.
        a_head: (n, R, width) inputs of the head.
        b_head: (n, R, vocabulary) gradients by the logits.

    >>> one = torch.ones(1, 1, 1)
    >>> tied_cross(torch.tensor([[0]]), 2 * one, 3 * one, 5 * one).tolist()
    [30.0]
    """
    index = ids[:, None, :].expand(-1, b_head.shape[1], -1)
    taken = b_head.gather(2, index).float()
    return (taken * (a_head.float() @ b.float().mT)).sum(dim=(1, 2), dtype=torch.float64)


def _square(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.float().square().sum(dim=dims, dtype=torch.float64)


class GhostNorms:
    """While entered, measures the squared gradient norms of every weight of a Llama.

    The loss given to `backward` is the *sum* over the n rows of a batch, each row a sample;
    a mean would divide every norm by n². Weights are frozen meanwhile and left as they were;
    none gets a `.grad`. A sample may be spread over several passes: their tokens count as
    those of one sequence.

    After `backward`: `squares` holds (n,) float64 for each module with weights of its own by
    its name (weight and bias together), `embedding` and `head` the two vocabulary matrices,
    `tied` the one matrix that is both, None where they are two.
    """

    squares: dict[str, Tensor]
    embedding: Tensor
    head: Tensor
    tied: Tensor | None = None

    def __init__(self, model: Any) -> None:
        """Look over `model`.

        Raises:
            BadData: It has weights of a kind whose gradient norm is not known here. None
                is passed over in silence.
        """
        self._model = model
        self._embedding: nn.Embedding = model.model.embed_tokens
        self._is_tied = model.lm_head.weight is self._embedding.weight
        self._watched = {name: m for name, m in model.named_modules() if _has_weights(m)}
        for name, module in self._watched.items():
            if not (isinstance(module, nn.Linear) or module is self._embedding or _is_rms(module)):
                raise BadData(f"no gradient norm for {name!r}, a {type(module).__name__}")

    def __enter__(self) -> GhostNorms:
        """Freeze the weights and put the hooks in."""
        self.squares = {}
        self._frozen = [p for p in self._model.parameters() if p.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        self._leaves: list[tuple[Tensor, Tensor]] = []
        self._calls: dict[str, int] = {}
        self._arrived: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._handles = [
            module.register_forward_hook(partial(self._forward, name))
            for name, module in self._watched.items()
            if module is not self._embedding
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the hooks out and give the weights back as they were."""
        for handle in self._handles:
            handle.remove()
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._leaves, self._arrived = [], {}

    def embed(self, ids: Tensor) -> Tensor:
        """Look `ids` (n, T) up and give (n, T, width) to run the model from."""
        leaf: Tensor = self._embedding(ids).detach().requires_grad_(True)
        self._leaves.append((ids, leaf))
        return leaf

    def backward(self, loss: Tensor) -> None:
        """Go back from `loss` to the embeddings, once, and fill in the results."""
        grads = torch.autograd.grad(loss, [leaf for _, leaf in self._leaves])
        for name in list(self._arrived):
            if name != "lm_head":
                self._settle(name)
        ids = torch.cat([i for i, _ in self._leaves], dim=1)
        b = torch.cat(grads, dim=1)
        self.embedding = embedding_square(ids, b)
        a_head, b_head = _joined(self._arrived["lm_head"])
        self._settle("lm_head")
        self.head = self.squares.pop("lm_head")
        if self._is_tied:
            self.tied = self.embedding + self.head + 2 * tied_cross(ids, b, a_head, b_head)

    def _forward(self, name: str, _module: nn.Module, args: Any, output: Tensor) -> None:
        if not output.requires_grad:
            raise ValueError(f"the output of {name} does not depend on GhostNorms.embed")
        self._calls[name] = self._calls.get(name, 0) + 1
        output.register_hook(partial(self._backward, name, args[0].detach()))  # type: ignore[no-untyped-call]

    def _backward(self, name: str, a: Tensor, b: Tensor) -> None:
        pairs = self._arrived.setdefault(name, [])
        # What runs without a batch dimension is one sample.
        pairs.append((a, b.detach()) if a.dim() > 2 else (a[None], b.detach()[None]))
        if name != "lm_head" and len(pairs) == self._calls[name]:
            self._settle(name)  # now, so that activations need not wait for the whole way back

    def _settle(self, name: str) -> None:
        module = self._watched[name]
        a, b = _joined(self._arrived.pop(name))
        if isinstance(module, nn.Linear):
            square = linear_square(a, b)
            if module.bias is not None:
                square = square + _square(b.float().sum(1), (1,))
        else:
            square = gain_square(a, b, _eps(module))
        self.squares[name] = square


def _joined(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(pairs) == 1:
        return pairs[0]
    return torch.cat([a for a, _ in pairs], dim=1), torch.cat([b for _, b in pairs], dim=1)


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _is_rms(module: nn.Module) -> bool:
    named = [name for name, _ in module.named_parameters(recurse=False)]
    return type(module).__name__.endswith("RMSNorm") and named == ["weight"]


def _eps(module: nn.Module) -> float:
    found = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    assert isinstance(found, float), f"{type(module).__name__} does not say its epsilon"
    return found
