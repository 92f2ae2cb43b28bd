"""DLLM2Rec and its parts as ways to distil, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from distill.methods.records import Change, Method
from distill.ranked.settings import (
    GAMMA_CONFIDENCE,
    GAMMA_CONSISTENCY,
    GAMMA_POSITION,
    SHARE,
)

if TYPE_CHECKING:
    from distill.config import DistilConfig

NO_WEIGHTS = {"position": 0.0, "confidence": 0.0, "consistency": 0.0}
THREE_WEIGHTS = {
    "position": GAMMA_POSITION,
    "confidence": GAMMA_CONFIDENCE,
    "consistency": GAMMA_CONSISTENCY,
}


def _ranked(*, output: float = 0.0, **changes: object) -> Change:
    """Return what learns from rankings and vectors alone: no layers, and no soft labels."""
    switched = {"share": 0.0, "embeddings": False, "offset": True, **NO_WEIGHTS, **changes}

    def change(config: DistilConfig) -> DistilConfig:
        ranked = replace(config.loss.ranked, **switched)  # type: ignore[arg-type]
        bare = config.with_teacher(weights="none")
        return bare.with_loss(output=output, layer=0.0, ranked=ranked)

    return change


def _method(name: str, about: str, change: Change) -> Method:
    return Method(name, about, change, items=True)


RANKED_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        one.name: one
        for one in (
            _method(
                "dllm2rec",
                "the teacher's ranking, weighed three ways, and items from vectors (DLLM2Rec)",
                _ranked(share=SHARE, embeddings=True, **THREE_WEIGHTS),
            ),
            _method(
                "dllm2rec-no-offset",
                "as dllm2rec, but items are nothing beside their projected vectors",
                _ranked(share=SHARE, embeddings=True, offset=False, **THREE_WEIGHTS),
            ),
            _method(
                "rd-only",
                "the teacher's ranking, all of its list counting the same",
                _ranked(share=SHARE),
            ),
            _method(
                "rd-position",
                "the teacher's ranking, weighed by position",
                _ranked(share=SHARE, position=1.0),
            ),
            _method(
                "rd-confidence",
                "the teacher's ranking, weighed by how sure it is",
                _ranked(share=SHARE, confidence=1.0),
            ),
            _method(
                "rd-consistency",
                "the teacher's ranking, weighed by what the student ranks high too",
                _ranked(share=SHARE, consistency=1.0),
            ),
            _method(
                "embeddings-only",
                "items from vectors, b + A z: what the teacher says is not heard",
                _ranked(embeddings=True),
            ),
            _method(
                "soft-kl",
                "labels as one distribution, by KL, at the share of the ranking",
                _ranked(output=SHARE),
            ),
        )
    }
)
"""For sequential students only, by name."""
