"""Seeds of every use of chance in a training: a function of one seed, a name and a step."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Stream = Literal[
    "sequences", "dropout", "sample", "requests", "label dropout", "projections", "measured"
]
_STREAMS: tuple[Stream, ...] = get_args(Stream)


def derived_seed(seed: int, stream: Stream, step: int) -> int:
    """Return the seed of one use of chance at one step, unrelated to all others.

    >>> derived_seed(1, "dropout", 0) != derived_seed(1, "dropout", 1)
    True
    """
    sequence = np.random.SeedSequence([seed, _STREAMS.index(stream), step])
    return int(sequence.generate_state(1, np.uint64)[0])
