"""`layer_importance`: any criteria of any model in the Llama layout, from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.importance.criteria import NEED_CHOICES, Array, Arrays, Criterion, chosen
from distill.importance.measuring import Asked, in_memory
from distill.importance.profile import RESAMPLES, Profile, profile
from distill.importance.requests import Loss, PackedRequest
from storage.errors import BadSetting


@dataclass(frozen=True, slots=True, eq=False)
class Importance:
    """One criterion, measured."""

    criterion: Criterion
    values: Array
    """(requests, layers), larger where a layer matters more; one row where it has no requests."""
    profile: Profile
    """Mean over requests, intervals, and the ratio of late to early layers."""
    arrays: tuple[Arrays, ...]
    """All that its measure kept of each request: weight by weight, set by set."""


def layer_importance(
    model: Any,
    requests: Iterable[PackedRequest],
    criteria: Sequence[str] = (),
    *,
    temperature: float = 1.0,
    loss: Loss = "listwise",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Importance]:
    """Measure how much each layer of `model` matters to ranking decisions.

    Args:
        model: A causal language model in the Llama layout; it is left exactly as it was.
        requests: Requests in tokens; `requests.lay_out` makes them from text.
        criteria: By name, see `criteria.CRITERIA`; none are those of one forward and one
            backward pass.
        temperature: τ of the loss.
        loss: What `requests` were laid out for.
        seed: Of what is drawn, and of the bootstrap.
        resamples: Of the bootstrap over requests.

    Raises:
        BadSetting: There is no such criterion, or it does not go with the loss.
        ValueError: There are no requests, or one of them has no loss.
        BadData: The model has weights of an unknown kind.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from recommender.backends.packed import pack
    >>> config = LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=16,
    ...     num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1)
    >>> model = LlamaForCausalLM(config)
    >>> asked = PackedRequest((pack([1, 2, 3], [[4, 5], [6], [7, 8]]),), target=1)
    >>> found = layer_importance(model, [asked, asked], ["fisher-empirical", "loo-loss"])
    >>> found["fisher-empirical"].values.shape, len(found["loo-loss"].profile.mean)
    ((2, 4), 4)
    >>> any(p.grad is not None for p in model.parameters())
    False
    """
    asked = Asked(model, "", tuple(requests), loss, temperature, seed)
    if not asked.requests:
        raise ValueError("no requests to measure")
    wanted = chosen(criteria, loss)
    require_fitting(wanted, loss)
    kept: Mapping[str, list[Arrays]] = {
        name: [dict(one) for one in in_memory(asked, name)]
        for name in dict.fromkeys(one.measure for one in wanted)
    }
    return {
        one.name: importance(one, kept[one.measure], seed=seed, resamples=resamples)
        for one in wanted
    }


def importance(
    criterion: Criterion, kept: Sequence[Arrays], *, seed: int = 0, resamples: int = RESAMPLES
) -> Importance:
    """Read a criterion off what its measure kept of each request.

    >>> from distill.importance.criteria import CRITERIA
    >>> kept = [{"layers": np.array([1.0, 4.0])}, {"layers": np.array([1.0, 16.0])}]
    >>> importance(CRITERIA["gradient-norm"], kept).values.tolist()
    [[1.0, 2.0], [1.0, 4.0]]
    """
    values = np.stack([criterion.read(arrays) for arrays in kept])
    found = profile(values, seed=seed, resamples=resamples)
    return Importance(criterion, values, found, tuple(kept))


def require_fitting(criteria: Sequence[Criterion], loss: Loss) -> None:
    """Check that criteria can be taken of a loss.

    Raises:
        BadSetting: one needs something to choose from, and next-token has nothing.

    >>> require_fitting(chosen(["taylor"]), "next-token")
    """
    if loss != "next-token":
        return
    for one in criteria:
        if one.name in NEED_CHOICES:
            raise BadSetting(
                f"{one.name!r} needs candidates to choose from, and the loss 'next-token' has none",
                next_step="--loss listwise",
            )
