"""One pack through a causal language model: the tensors, the pass, the log-probabilities.

Used with gradients by the Fisher measurement and without by the scoring, so that both are
the same computation. Knows transformers' Llama layout (`model.model.layers`, `lm_head`),
and nothing of text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from recommender.backends.packed import Pack, sees
from storage.errors import BadData
from storage.records import IntArray

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


def pack_mask(packs: Sequence[Pack], *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Make the additive mask (n, 1, T, T): 0 where a token may look, the lowest number elsewhere.

    Rows are as long as the longest pack. Nobody looks at what fills the others up, and it
    looks at itself, since a token must look somewhere.

    >>> from recommender.backends.packed import pack
    >>> two = [pack([7], [[1, 2]]), pack([7], [[1]])]
    >>> m = pack_mask(two, device=torch.device("cpu"), dtype=torch.float32)
    >>> (m == 0).squeeze().tolist()
    [[[True, False], [True, True]], [[True, False], [False, True]]]
    """
    longest = max(map(len, packs))
    allowed = torch.eye(longest, dtype=torch.bool).repeat(len(packs), 1, 1)
    for row, one in zip(allowed, packs, strict=True):
        row[: len(one), : len(one)] = torch.from_numpy(sees(one))
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device)
    mask.masked_fill_(~allowed.to(device), torch.finfo(dtype).min)
    return mask[:, None]


def row_ids(packs: Sequence[Pack]) -> Tensor:
    """Put the tokens of several packs side by side: (n, T), filled up with 0 on the right."""
    return _rows([one.ids for one in packs])


def rows_hidden(model: Any, packs: Sequence[Pack], embeds: Tensor | None = None) -> Tensor:
    """Run packs, each a row, and give the last hidden states, (n, T, width), after the norm.

    Args:
        model: A causal language model in the Llama layout.
        packs: The sequences to run.
        embeds: (n, T, width) input embeddings to run instead of the packs' ids, for those
            who want gradients that reach them.
    """
    weight: Tensor = model.model.embed_tokens.weight
    feed = (
        {"input_ids": row_ids(packs).to(weight.device)}
        if embeds is None
        else {"inputs_embeds": embeds}
    )
    hidden: Tensor = model.model(
        **feed,
        attention_mask=pack_mask(packs, device=weight.device, dtype=weight.dtype),
        position_ids=_rows([one.positions for one in packs]).to(weight.device),
        use_cache=False,
    ).last_hidden_state
    return hidden


def pack_hidden(model: Any, one: Pack, embeds: Tensor | None = None) -> Tensor:
    """Run one pack and give the last hidden state of every token, (T, width), after the norm."""
    return rows_hidden(model, [one], embeds)[0]


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


@contextmanager
def only_layers(model: Any, kept: Sequence[int]) -> Iterator[None]:
    """While entered, `model` consists of the layers `kept`, in that order; the same modules.

    What the rest of transformers reads off the layers' count goes along: the configuration's
    `num_hidden_layers` and, where there is one, `layer_types` (Qwen looks a layer's mask up
    by its place among those that run), and each attention's `layer_idx`, its place in the
    cache of whoever generates text meanwhile. All is put back afterwards.

    Args:
        model: A causal language model in the Llama layout.
        kept: Numbers of the layers as they stand when this is entered; none leaves the
            embedding, the final norm and the head.

    Raises:
        ValueError: A layer is named twice or does not exist.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=3, num_attention_heads=2))
    >>> with only_layers(model, [0, 2]):
    ...     len(model.model.layers), model.config.num_hidden_layers
    (2, 2)
    >>> len(model.model.layers), model.config.num_hidden_layers
    (3, 3)
    """
    body = model.model
    whole, config = body.layers, body.config
    numbers = list(kept)
    if len(set(numbers)) != len(numbers) or not set(numbers) <= set(range(len(whole))):
        raise ValueError(f"layers {numbers} of {len(whole)}")
    count, types = config.num_hidden_layers, getattr(config, "layer_types", None)
    places = [(block.self_attn, block.self_attn.layer_idx) for block in whole]
    try:
        body.layers = nn.ModuleList(whole[number] for number in numbers)
        config.num_hidden_layers = len(numbers)
        if types is not None:
            config.layer_types = [types[number] for number in numbers]
        for place, number in enumerate(numbers):
            whole[number].self_attn.layer_idx = place
        yield
    finally:
        body.layers, config.num_hidden_layers = whole, count
        if types is not None:
            config.layer_types = types
        for attention, place in places:
            attention.layer_idx = place


class LayerStates:
    """While entered, keeps one token of every layer's output: the residual stream there.

    State 0 is the embedding, state l the output of the l-th layer, before the final norm.
    What is kept are copies without gradients, of the first pass.
    """

    def __init__(self, model: Any, tokens: int | Sequence[int], layers: Sequence[int]) -> None:
        """Ask for the states `layers` (0 … number of layers) of one token of each row."""
        self._layers = list(model.model.layers)
        self._tokens = [tokens] if isinstance(tokens, int) else list(tokens)
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
        if wanted not in self._rows:
            places = torch.arange(len(self._tokens)), torch.tensor(self._tokens)
            self._rows[wanted] = hidden.detach()[places].float().cpu().clone()

    def taken(self, row: int = 0) -> Tensor:
        """Give a row's (asked states, width), float32, in the order they were asked for."""
        return torch.stack([self._rows[layer][row] for layer in self._wanted])


def _rows(arrays: Sequence[IntArray]) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.from_numpy(a) for a in arrays], batch_first=True)
