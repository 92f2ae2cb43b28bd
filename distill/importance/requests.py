"""What is measured: one request in tokens, its choices' scores, and its loss.

Every loss is laid out in packs, so that every criterion can be taken of every loss:

- *listwise* (default): the candidates' titles are the choices.
- *letters*: the choices are the letters behind 'Answer:', each perhaps in several spellings.
- *next-token*: one choice, the whole text behind its first token. With nothing to choose from,
  the loss is its negative log-likelihood, as in language modelling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.packed import Pack, pack
from recommender.backends.passes import pack_hidden, title_logprobs
from storage.errors import BadSetting

Loss = Literal["listwise", "letters", "next-token"]
LOSSES: tuple[Loss, ...] = ("listwise", "letters", "next-token")


@dataclass(frozen=True, slots=True)
class FisherRequest:
    """A history, the titles on offer, and which of them was chosen."""

    prompt: Prompt
    titles: tuple[str, ...]
    target: int


@dataclass(frozen=True, slots=True)
class PackedRequest:
    """The same in tokens: all packs of one request, and the chosen one's number."""

    packs: tuple[Pack, ...]
    target: int
    owners: tuple[int, ...] = ()
    """Which choice each scored continuation spells; empty: each is a choice of its own."""

    @property
    def continuations(self) -> int:
        """How many continuations are scored."""
        return sum(one.candidates for one in self.packs)

    @property
    def choices(self) -> int:
        """How many choices there are."""
        return max(self.owners) + 1 if self.owners else self.continuations

    @property
    def tokens(self) -> int:
        """How many tokens are run."""
        return sum(len(one) for one in self.packs)


def lay_out(backend: EmbeddedBackend, request: FisherRequest, loss: Loss) -> PackedRequest:
    """Turn a request into the tokens of a loss.

    Raises:
        BadSetting: the loss is unknown, or a letter is no token of the model.
    """
    if loss == "listwise":
        return PackedRequest(
            tuple(backend.request_packs(request.prompt, request.titles)), request.target
        )
    if loss == "letters":
        prefix, spellings = backend.letters_tokens(request.prompt)
        forms = [(number, token) for number, some in enumerate(spellings) for token in some]
        one = pack(prefix, [[token] for _, token in forms])
        return PackedRequest((one,), request.target, tuple(number for number, _ in forms))
    if loss == "next-token":
        prefix, _ = backend.prefix_tokens(request.prompt)
        text = [*prefix, *backend.title_tokens(request.titles[request.target])]
        return PackedRequest((pack(text[:1], [text[1:]]),), 0)
    raise BadSetting(f"unknown loss {loss!r}: {', '.join(LOSSES)}")


def choice_scores(scores: Tensor, request: PackedRequest) -> Tensor:
    """Give (choices,): the log-probabilities of continuations that spell one choice, added up.

    >>> one = PackedRequest((pack([1], [[2], [3], [4]]),), 0, owners=(0, 0, 1))
    >>> choice_scores(torch.tensor([0.5, 0.25, 0.25]).log(), one).exp().round(decimals=3).tolist()
    [0.75, 0.25]
    """
    if not request.owners:
        return scores
    owners = torch.tensor(request.owners, device=scores.device)
    return torch.stack(
        [torch.logsumexp(scores[owners == choice], dim=0) for choice in range(request.choices)]
    )


def request_loss(scores: Tensor, target: int, temperature: float) -> Tensor:
    """Give ℓ = −log softmax_c(s_c / τ)[target]; where there is one choice, ℓ = −s.

    Args:
        scores: (choices,) log-probabilities.
        target: the chosen one.
        temperature: τ > 0.

    >>> round(request_loss(torch.tensor([0.0, 0.0]), 1, 2.0).item(), 4)
    0.6931
    """
    if len(scores) == 1:
        return -scores[0]
    return -torch.log_softmax(scores / temperature, dim=0)[target]


def scores_of(model: Any, request: PackedRequest, embeds: Sequence[Tensor] = ()) -> Tensor:
    """Run all packs of a request and give its choices' scores, (choices,) float32.

    Args:
        model: a causal language model in the Llama layout.
        request: what is run.
        embeds: (1, T, width) for each pack, to be run instead of its tokens.
    """
    found = []
    for number, one in enumerate(request.packs):
        hidden = pack_hidden(model, one, embeds[number] if embeds else None)
        found.append(title_logprobs(model, hidden, one))
    return choice_scores(torch.cat(found), request)
