"""One pack through a causal language model: the tensors, the pass, the log-probabilities.

Used with gradients by the Fisher measurement and without by the scoring, so that both are
the same computation. Knows transformers' Llama layout (`model.model.layers`, `lm_head`),
and nothing of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from recommender.backends.packed import Pack, sees
from storage.errors import BadData

HEAD_ROWS = 256
"""Rows of vocabulary-wide logits held at once where no gradient is wanted."""


def require_llama_layout(model: nn.Module, name: str) -> None:
    """Check that `model` has the parts the passes use.

    Raises:
        BadData: It is another architecture.
    """
    body = getattr(model, "model", None)
    parts = ("embed_tokens", "layers", "norm")
    if not isinstance(getattr(model, "lm_head", None), nn.Linear) or not all(
        isinstance(getattr(body, part, None), nn.Module) for part in parts
    ):
        raise BadData(
            f"{name!r} is a {type(model).__name__}; only models laid out like Llama "
            "(Llama, Qwen, Mistral, SmolLM) can be opened in-process",
            next_step="recsys models list",
        )


def pack_mask(one: Pack, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Make the additive mask (1, 1, T, T): 0 where a token may look, the lowest number elsewhere.

    >>> from recommender.backends.packed import pack
    >>> m = pack_mask(pack([7], [[1, 2]]), device=torch.device("cpu"), dtype=torch.float32)
    >>> (m == 0).squeeze().tolist()
    [[True, False], [True, True]]
    """
    allowed = torch.from_numpy(sees(one)).to(device)
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device)
    mask.masked_fill_(~allowed, torch.finfo(dtype).min)
    return mask[None, None]


def pack_hidden(model: Any, one: Pack, embeds: Tensor | None = None) -> Tensor:
    """Run one pack and give the last hidden state of every token, (T, width), after the norm.

    Args:
        model: A causal language model in the Llama layout.
        one: The sequence to run.
        embeds: (1, T, width) input embeddings to run instead of the pack's ids, for those
            who want gradients that reach them.
    """
    weight: Tensor = model.model.embed_tokens.weight
    ids = torch.from_numpy(one.ids)[None].to(weight.device)
    feed = {"input_ids": ids} if embeds is None else {"inputs_embeds": embeds}
    hidden: Tensor = model.model(
        **feed,
        attention_mask=pack_mask(one, device=weight.device, dtype=weight.dtype),
        position_ids=torch.from_numpy(one.positions)[None].to(weight.device),
        use_cache=False,
    ).last_hidden_state[0]
    return hidden


def title_logprobs(model: Any, hidden: Tensor, one: Pack) -> Tensor:
    """Sum the log-probabilities of each candidate's tokens: (C,), float32.

    score_c = Σ_s log softmax(head · hidden[row_s])[token_s] over the candidate's tokens.
    The head runs only on rows that predict something: the last row of the prefix and all
    after it. Log-sum-exp is taken in float32 whatever the precision of the weights.

    Args:
        model: Its `lm_head` is used.
        hidden: (T, width) of `pack_hidden`.
        one: The same pack.
    """
    start = one.prefix - 1
    rows = torch.from_numpy(one.rows).to(hidden.device) - start
    targets = torch.from_numpy(one.targets).to(hidden.device)
    owners = torch.from_numpy(one.owners).to(hidden.device)
    useful = hidden[start:]
    step = len(useful) if torch.is_grad_enabled() else HEAD_ROWS
    token = torch.zeros(len(rows), dtype=torch.float32, device=hidden.device)
    for begin in range(0, len(useful), step):
        logits = model.lm_head(useful[begin : begin + step]).float()
        mine = ((rows >= begin) & (rows < begin + step)).nonzero().squeeze(1)
        local = rows[mine] - begin
        scored = logits[local, targets[mine]] - torch.logsumexp(logits, dim=-1)[local]
        token = token.index_copy(0, mine, scored)
    return torch.zeros(one.candidates, device=hidden.device).index_add(0, owners, token)


class LayerStates:
    """While entered, keeps one row of every layer's output: the residual stream at that token.

    State 0 is the embedding, state l the output of the l-th layer, before the final norm.
    The rows are copies without gradients.
    """

    def __init__(self, model: Any, row: int, layers: Sequence[int]) -> None:
        """Ask for the states `layers` (0 … number of layers) of token `row`."""
        self._layers = list(model.model.layers)
        self._row = row
        self._wanted = tuple(layers)
        self._rows: dict[int, Tensor] = {}
        self._handles: list[Any] = []
        for layer in self._wanted:
            if not 0 <= layer <= len(self._layers):
                raise ValueError(f"state {layer} is not in 0..{len(self._layers)}")

    def __enter__(self) -> LayerStates:
        """Put the hooks in."""
        for wanted in set(self._wanted):
            block = self._layers[max(wanted - 1, 0)]
            hook = self._output(wanted) if wanted else self._input
            register = block.register_forward_hook if wanted else block.register_forward_pre_hook
            self._handles.append(register(hook))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the hooks out."""
        for handle in self._handles:
            handle.remove()

    def _input(self, _block: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._keep(0, args[0])

    def _output(self, wanted: int) -> Any:
        def hook(_block: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> None:
            self._keep(wanted, output if isinstance(output, Tensor) else output[0])

        return hook

    def _keep(self, wanted: int, hidden: Tensor) -> None:
        self._rows[wanted] = hidden.detach()[0, self._row].float().cpu().clone()

    def taken(self) -> Tensor:
        """Give (asked states, width), float32, in the order they were asked for."""
        return torch.stack([self._rows[layer] for layer in self._wanted])
