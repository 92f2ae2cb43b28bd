r"""The head and its gradient in one buffer: the largest tensor of a pass, held once.

A token's log-probability log softmax(W x_r)[v] has by the logits of row r the gradient
onehot(v) − softmax. Left to autograd, a pass over R rows holds the R × vocabulary logits and
three more tensors of that size on the way back; here the logits become their own gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Arrived = Callable[[Tensor, Tensor], None]

ROWS = 32
"""Rows whose log-sum-exp is taken at once: it copies what it is given, and a small copy stays in
the processor's cache, which takes half the time besides."""


class TokenLogprobs(torch.autograd.Function):
    """(x, …) → (S,) float32 log-probabilities, with a backward pass that tells what it knows."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, head: nn.Linear, rows: Tensor, targets: Tensor, arrived: Arrived
    ) -> Tensor:
        """Score token `targets[s]` at row `rows[s]` of x, its leading dimensions flattened."""
        logits = head(x).float().flatten(0, -2)
        total = torch.cat([torch.logsumexp(some, dim=-1) for some in logits.split(ROWS)])
        ctx.save_for_backward(x, rows, targets, total)
        ctx.head, ctx.arrived, ctx.logits = head, arrived, logits
        scored: Tensor = logits[rows, targets] - total[rows]
        return scored

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Give ∂ℓ/∂x, and x with ∂ℓ/∂logits (R, vocabulary) to whoever asked to be told."""
        x, rows, targets, total = ctx.saved_tensors
        # The buffer is used up; whoever goes back twice pays for the logits again.
        b = ctx.logits if ctx.logits is not None else ctx.head(x).float().flatten(0, -2)
        ctx.logits = None
        weight = torch.zeros(len(b), dtype=torch.float32, device=x.device)
        weight.index_add_(0, rows, grad)
        b.sub_(total[:, None]).exp_().mul_(-weight[:, None])
        b.index_put_((rows, targets), grad, accumulate=True)
        b = b.to(x.dtype).unflatten(0, x.shape[:-1])
        ctx.arrived(x, b)
        return b @ ctx.head.weight, None, None, None, None


def token_logprobs(
    x: Tensor, head: nn.Linear, rows: Tensor, targets: Tensor, arrived: Arrived
) -> Tensor:
    """Score tokens: log softmax(head · x_r)[v] for each pair (r, v).

    Args:
        x: (…, width) hidden states behind the final norm.
        head: The output matrix, with or without a bias.
        rows: (S,) which row each scored token is predicted from, counted over all before width.
        targets: (S,) the tokens.
        arrived: Told x and ∂ℓ/∂logits, (…, vocabulary), on each way back.

    Returns:
        (S,) float32.

    >>> head = nn.Linear(1, 2, bias=False)
    >>> _ = nn.init.zeros_(head.weight)
    >>> told = []
    >>> x = torch.ones(1, 1, requires_grad=True)
    >>> row, target = torch.tensor([0]), torch.tensor([1])
    >>> token_logprobs(x, head, row, target, lambda a, b: told.append(b)).sum().backward()
    >>> told[0].tolist()
    [[-0.5, 0.5]]
    """
    found: Tensor = TokenLogprobs.apply(x, head, rows, targets, arrived)  # type: ignore[no-untyped-call]
    return found
