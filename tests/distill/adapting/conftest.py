"""A small Llama whose adapters learn, and the questions of a shop put to it."""

from __future__ import annotations

import pytest

from distill.adapting.config import AdaptConfig
from distill.adapting.questions import TrainingQuestions
from distill.ground import Ground, sampler
from tests.tiny import SHOP


def adapting(**changes: object) -> AdaptConfig:
    """An adaptation of a few seconds."""
    small: dict[str, object] = {
        "device": "cpu",
        "precision": "float32",
        "candidates": 5,
        "history_length": 5,
        "minutes": 0,
        "epochs": 1,
        "requests": 48,
        "batch": 8,
        "evaluations": 2,
        "rank": 2,
        "prompt_tokens": 120,
        "valid_requests": 32,
        "test_requests": 40,
        "whole_requests": 24,
    }
    return AdaptConfig(SHOP, **{**small, **changes})  # type: ignore[arg-type]


@pytest.fixture
def training(ground: Ground) -> TrainingQuestions:
    """Training questions of the shop."""
    config = adapting()
    draw = sampler(ground, config.asking())
    return TrainingQuestions.of(ground.split, draw, seed=0, most=config.requests)
