"""What a teacher's layers hold at the end of a history: the targets of layerwise matching.

Without gradients. Where labels are asked for anyway, `EmbeddedBackend.likelihood(…,
states_of=…)` gives the same states from the same pass, and so does a Fisher measurement; this
is for histories about which nothing else is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from storage.records import FloatArray

HalfArray = npt.NDArray[np.float16]


def history_states(
    backend: EmbeddedBackend, prompts: Iterable[Prompt], layers: Sequence[int]
) -> Iterator[HalfArray]:
    """Yield (len(layers), width) for each prompt, one pass each.

    Args:
        backend: Whose layers are read.
        prompts: Their histories are used.
        layers: 0 is the embedding, l the output of the l-th layer, before the final norm.
    """
    for prompt in prompts:
        yield to_half(backend.states(prompt, layers))


def to_half(states: FloatArray) -> HalfArray:
    """Round states to float16, in which artifacts keep them.

    Float16 has three digits and ends at 65,504; the state of an ordinary token is far below.

    Raises:
        ValueError: A state does not fit.

    >>> to_half(np.array([0.1], dtype=np.float32)).tolist()
    [0.0999755859375]
    """
    if not np.isfinite(states).all() or np.abs(states).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError("a state is not finite or does not fit into float16")
    half: HalfArray = states.astype(np.float16)
    return half
