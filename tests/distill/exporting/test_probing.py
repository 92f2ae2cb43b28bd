"""Whether two models are taken for one: what is allowed, and what is told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.exporting.probing import (
    NO_LOSS,
    NotTheSame,
    Probe,
    answers_of,
    apart,
    kept_loss,
    loss_of,
    open_model,
    require_same,
    round_weights,
)
from recommender.differences import Parity, PromptParity
from recommender.parity import NEAR, Limits
from storage.artifacts import Artifacts
from tests.distill.exporting.llamas import save


def probe(loss: Limits = NO_LOSS, **figures: float) -> Probe:
    given = {"counted": 5, "here": 5, "compared": 10, "largest": 0.1, "middle": 0.1, "behind": 0.0}
    return Probe(Parity((PromptParity(**{**given, **figures}),)), loss)  # type: ignore[arg-type]


def test_the_limits_are_the_floor_and_what_the_teacher_loses() -> None:
    found = probe(Limits(0.04, 0.14)).limits
    assert (found.typical, found.largest) == (NEAR.typical + 0.04, NEAR.largest + 0.14)
    require_same(probe(Limits(0.04, 0.14), middle=0.21, largest=1.03), "a", "q8_0")
    for figures in ({"middle": 0.23}, {"largest": 1.05}, {"behind": 1.05}):
        with pytest.raises(NotTheSame, match="does not answer as the model it was made of"):
            require_same(probe(Limits(0.04, 0.14), **figures), "a", "q8_0")


def test_what_is_said() -> None:
    with pytest.raises(NotTheSame, match="makes 430 tokens of a text that are 423 here"):
        require_same(probe(counted=430, here=423), "a", "f16")
    with pytest.raises(NotTheSame, match="named no token"):
        require_same(probe(compared=0), "a", "f16")
    with pytest.raises(NotTheSame) as eight:
        require_same(probe(largest=3.0), "a", "q8_0")
    assert eight.value.next_step == "--format f16"
    assert "the noise floor 0.18 and 0.9" in eight.value.what


def test_a_model_and_itself_are_one(tmp_path: Path) -> None:
    one, other = open_model(save(tmp_path / "a")), open_model(save(tmp_path / "b", seed=1))
    asked = answers_of(one)
    assert apart(asked, answers_of(one)).largest == 0
    with torch.no_grad():  # random networks are near to each other: neither says much
        other.model.lm_head.weight.mul_(40)
    with pytest.raises(NotTheSame):
        require_same(Probe(apart(answers_of(other), asked), NO_LOSS), "b", "f16")


def test_rounding_moves_answers_by_little_and_eight_bits_by_more(tmp_path: Path) -> None:
    directory = save(tmp_path / "a")
    half, eight = (loss_of(open_model(directory), name) for name in ("f16", "q8_0"))
    assert 0 < half.typical < eight.typical < 0.1
    twice = open_model(directory)
    round_weights(twice, "q8_0")
    assert loss_of(twice, "f16").largest < eight.largest


def test_tied_weights_are_rounded_once(tmp_path: Path) -> None:
    model = open_model(save(tmp_path / "a", tie_word_embeddings=True))
    round_weights(model, "q8_0")
    assert model.model.lm_head.weight.data_ptr() == model.model.model.embed_tokens.weight.data_ptr()


def test_a_loss_is_measured_once(tmp_path: Path) -> None:
    directory, artifacts = save(tmp_path / "a"), Artifacts(tmp_path / "artifacts")
    found = kept_loss(directory, "sha256:ab", "q8_0", artifacts)
    assert kept_loss(tmp_path / "gone", "sha256:ab", "q8_0", artifacts) == found
    assert kept_loss(directory, "sha256:ab", "f16", artifacts).largest < found.largest
    assert kept_loss(directory, "sha256:ab", "q8_0", None) == found
