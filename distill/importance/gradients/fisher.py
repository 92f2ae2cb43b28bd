r"""Layer Fisher: how hard one ranking decision pulls at the weights of each layer.

For a request x with candidates c, true choice y and title scores s_c (`title_logprobs`),

    ℓ = −log softmax_c(s_c / τ)[y]        F_l = E_x ‖∇_{θ_l} ℓ‖²

which is the trace of layer l's diagonal *empirical* Fisher (gradients at the choice that was
observed, not at choices drawn from the model). θ_l is every weight of the block: attention
and MLP matrices and the gains of its norms. One request is one sample: its candidates and
their common prefix are one packed sequence, so the square of the sum over all of its tokens
is taken, once, after one backward pass. Source of the norms: `ghost`.

A pass with Fisher takes three to four times a pass without. In bfloat16 the rounding of the
pass itself moves a layer's value for one request to SmolLM2-135M by 2 to 4 % at the median and
19 % at most, a mean over two or three requests by up to 10 % (five requests were compared);
the way the norms are taken adds 0.03 %. Where that matters, measure in float32.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distill.importance.gradients.ghost import GhostNorms
from distill.importance.gradients.modules import PREFIX
from distill.importance.profile import RESAMPLES, Profile, profile
from distill.importance.requests import (
    FisherRequest,
    PackedRequest,
    choice_scores,
    lay_out,
    request_loss,
)
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.passes import LayerStates
from storage.records import FloatArray

Array = npt.NDArray[np.float64]

CRITERION = "fisher-empirical-listwise"


@dataclass(frozen=True, slots=True, eq=False)
class FisherSample:
    """What one request gave, from one forward and one backward pass."""

    layers: Array
    """(layers,) ‖∇_{θ_l} ℓ‖², block by block."""
    positions: Array
    """(layers,) the same for each position's own share of the gradient, mean over positions."""
    matrices: Array
    """(layers, weights of a block): `layers` by `names`; its rows sum to it."""
    names: tuple[str, ...]
    """Weights inside a block: 'self_attn.q_proj', …, 'input_layernorm'."""
    gates: Array
    """(layers,) ∂ℓ/∂a_l of h_l = h_{l−1} + a_l f_l(h_{l−1}); its square is the gate Fisher."""
    directions: Array
    """(layers,) Σ_{W in block} ⟨∂ℓ/∂W, W⟩; its square is the weight-direction score."""
    influence: Array
    """(layers,) Block Influence: 1 − cos of what goes in and what comes out, mean over tokens."""
    embedding: float
    """‖G‖² of the token embedding by its use as input."""
    head: float
    """‖G‖² of the output matrix by its use as output."""
    tied: float | None
    """‖G_embedding + G_head‖² where they are one matrix, else None."""
    final_norm: float
    loss: float
    scores: FloatArray
    """(choices,) log-probabilities, before any temperature."""
    tokens: tuple[int, ...]
    """How many tokens each continuation's score sums over."""
    states: FloatArray
    """(layers + 1, width) at the end of the history: 0 the embedding, l behind layer l."""
    seconds: float
    """Of the pass, shared out among the requests that went through it together."""


def fisher_sample(
    model: Any, request: PackedRequest, *, temperature: float, checkpoint: bool = False
) -> FisherSample:
    """Measure one request.

    Args:
        model: A causal language model in the Llama layout. Left exactly as it was.
        request: One choice has the loss of language modelling; see `requests`.
        temperature: τ > 0. Title scores differ by tens of nats; at 1 most losses are 0 or
            huge. Use the temperature that the soft labels were fitted with.
        checkpoint: Keep one state a layer and run each layer twice: less memory, same numbers.

    Raises:
        ValueError: The temperature is not above 0, or the target is not among the choices.
        BadData: The model has weights of an unknown kind.
    """
    return fisher_batch(model, [request], temperature=temperature, checkpoint=checkpoint)[0]


def fisher_batch(
    model: Any,
    requests: Sequence[PackedRequest],
    *,
    temperature: float,
    checkpoint: bool = False,
) -> list[FisherSample]:
    """Measure requests side by side in one pass: `fisher_sample` of each, at the price of one.

    Raises:
        ValueError: As `fisher_sample`; or several requests of which one needs several packs.
        BadData: The model has weights of an unknown kind.
    """
    for request in requests:
        if not temperature > 0 or not 0 <= request.target < request.choices:
            raise ValueError(
                f"temperature {temperature}, target {request.target} of {request.choices}"
            )
    started = time.perf_counter()
    rows = [one.packs[0].prefix - 1 for one in requests]
    kept = LayerStates(model, rows, range(len(model.model.layers) + 1))
    with torch.enable_grad(), GhostNorms(model, checkpoint=checkpoint) as norms:
        with kept:
            scores = run_requests(norms, requests)
        losses = [
            request_loss(s, request.target, temperature)
            for s, request in zip(scores, requests, strict=True)
        ]
        norms.backward(torch.stack(losses).sum())
        read = Read(norms)
    seconds = (time.perf_counter() - started) / len(requests)
    return [
        FisherSample(
            layers=read.matrices[n].sum(axis=1),
            positions=read.positions[n],
            matrices=read.matrices[n],
            names=read.names,
            gates=read.gates[n],
            directions=read.directions[n],
            influence=read.influence[n],
            embedding=float(read.embedding[n]),
            head=float(read.head[n]),
            tied=None if read.tied is None else float(read.tied[n]),
            final_norm=float(read.final_norm[n]),
            loss=losses[n].item(),
            scores=scores[n].detach().cpu().numpy(),
            tokens=tuple(t for one in request.packs for t in np.bincount(one.owners).tolist()),
            states=kept.taken(n).numpy(),
            seconds=seconds,
        )
        for n, request in enumerate(requests)
    ]


def run_requests(norms: GhostNorms, requests: Sequence[PackedRequest]) -> list[torch.Tensor]:
    """Run one request of any number of packs, or several of one each; give their choices' scores.

    Raises:
        ValueError: Several, of which one has several packs.
    """
    if len(requests) > 1:
        if any(len(request.packs) > 1 for request in requests):
            raise ValueError("a request of several packs is run alone")
        found = norms.run([request.packs[0] for request in requests])
    else:
        found = [torch.cat([norms.run([one])[0] for one in requests[0].packs])]
    return [choice_scores(s, request) for s, request in zip(found, requests, strict=True)]


class Read:
    """What the last way back of a `GhostNorms` has left, as arrays with the samples first."""

    def __init__(self, norms: GhostNorms) -> None:
        """Read it, while the norms are still entered."""
        inside = [name.removeprefix(PREFIX) for name in norms.squares if name.startswith(PREFIX)]
        self.names = tuple(sorted({name.split(".", 1)[1] for name in inside}))
        self._depth = norms.gates.shape[1]
        self.matrices = self._table(norms.squares)
        self.positions = self._table(norms.positions).sum(axis=2)
        self.gates = _array(norms.gates)
        self.directions = _array(norms.directions)
        self.influence = _array(norms.influence)
        self.embedding = _array(norms.embedding)
        self.head = _array(norms.head)
        self.tied = None if norms.tied is None else _array(norms.tied)
        self.final_norm = _array(norms.squares["model.norm"])

    def _table(self, found: dict[str, torch.Tensor]) -> Array:
        """(samples, layers, weights of a block)."""
        rows = [
            torch.stack([found[f"{PREFIX}{layer}.{name}"] for name in self.names])
            for layer in range(self._depth)
        ]
        return _array(torch.stack(rows).permute(2, 0, 1))


def _array(x: torch.Tensor) -> Array:
    found: Array = x.cpu().numpy()
    return found


def fisher_pass(
    backend: EmbeddedBackend, requests: Iterable[FisherRequest], *, temperature: float
) -> Iterator[FisherSample]:
    """Measure requests one by one, so that whoever consumes them can keep what is done.

    Nothing is held between two requests: the model is as it was at every yield.
    """
    for request in requests:
        laid = lay_out(backend, request, "listwise")
        yield fisher_sample(backend.model, laid, temperature=temperature)


@dataclass(frozen=True, slots=True, eq=False)
class LayerFisher:
    """The Fisher profile of a model over some requests."""

    values: Array
    """(requests, layers): what every summary below is taken from."""
    profile: Profile
    matrices: Array
    """(layers, weights of a block), mean over requests."""
    names: tuple[str, ...]
    embedding: float
    head: float
    tied: float | None
    """Means over requests, of what lies outside the blocks."""
    temperature: float


def summarise(
    samples: Sequence[FisherSample],
    *,
    temperature: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LayerFisher:
    """Put the samples of a `fisher_pass` together.

    Raises:
        ValueError: There are none.
    """
    if not samples:
        raise ValueError("no requests to measure")
    values = np.stack([sample.layers for sample in samples])
    tied = [sample.tied for sample in samples if sample.tied is not None]
    return LayerFisher(
        values=values,
        profile=profile(values, resamples=resamples, seed=seed),
        matrices=np.mean([sample.matrices for sample in samples], axis=0),
        names=samples[0].names,
        embedding=float(np.mean([sample.embedding for sample in samples])),
        head=float(np.mean([sample.head for sample in samples])),
        tied=float(np.mean(tied)) if tied else None,
        temperature=temperature,
    )


def layer_fisher(
    model: Any,
    requests: Iterable[PackedRequest],
    *,
    temperature: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LayerFisher:
    """Measure how much each layer of `model` matters to ranking decisions.

    Args:
        model: A causal language model in the Llama layout; it is left exactly as it was.
        requests: Requests in tokens; `EmbeddedBackend.request_packs` makes them from text.
        temperature: τ of the loss.
        resamples: Of the bootstrap over requests.
        seed: Of the bootstrap.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from recommender.backends.packed import pack
    >>> config = LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=16,
    ...     num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1)
    >>> model = LlamaForCausalLM(config)
    >>> asked = PackedRequest((pack([1, 2, 3], [[4, 5], [6], [7, 8]]),), target=1)
    >>> found = layer_fisher(model, [asked, asked])
    >>> found.values.shape, bool((found.profile.mean > 0).all())
    ((2, 4), True)
    >>> any(p.grad is not None for p in model.parameters())
    False
    """
    samples = [fisher_sample(model, request, temperature=temperature) for request in requests]
    return summarise(samples, temperature=temperature, resamples=resamples, seed=seed)
