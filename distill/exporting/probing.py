"""Whether an exported model answers as the one it was made of: counts equal, numbers near.

A few prompts are asked on both sides. How far they may be apart is measured: what one model
loses between a server and this process (`recommender.parity.NEAR`), and besides that what the
unmodified teacher loses when its own weights are rounded to the same format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from distill.exporting.llama_gguf import rounded
from distill.exporting.llama_layout import Format
from recommender.backends.embedded import EmbeddedBackend
from recommender.differences import Parity, compare
from recommender.letters import TOP
from recommender.parity import DEFAULT_PROMPTS, NEAR, QUESTION, Limits, ask_weights
from storage.artifacts import Artifacts
from storage.errors import BadData

PROMPTS = (*DEFAULT_PROMPTS, QUESTION)
LOSS = "format-loss"
NO_LOSS = Limits(0.0, 0.0)

Answer = tuple[int, Mapping[str, float]]
"""Tokens of a prompt, and the log-probability of what may follow, by its text."""


class NotTheSame(BadData):
    """A model that answers otherwise than the one it was made of."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a comparison showed."""

    parity: Parity
    loss: Limits
    """What the unmodified teacher loses in the format, in nats."""

    @property
    def limits(self) -> Limits:
        """How far the two may be apart."""
        return Limits(NEAR.typical + self.loss.typical, NEAR.largest + self.loss.largest)

    def in_words(self) -> str:
        """Say it in one line."""
        return (
            f"{self.parity.in_words()} (at most {self.limits.typical:.2f} and "
            f"{self.limits.largest:.2f}: the noise floor {NEAR.typical} and {NEAR.largest}, and "
            f"{self.loss.typical:.2f} and {self.loss.largest:.2f} that the unmodified teacher "
            "loses in this format)"
        )


def open_model(path: Path | str, artifacts: Artifacts | None = None) -> EmbeddedBackend:
    """Open a model as it is compared: in float32, on the CPU."""
    return EmbeddedBackend.open(path, artifacts=artifacts, device="cpu", precision="float32")


def answers_of(model: EmbeddedBackend, prompts: Sequence[str] = PROMPTS) -> list[Answer]:
    """Ask a model every prompt."""
    return [ask_weights(model, prompt) for prompt in prompts]


def apart(theirs: Sequence[Answer], own: Sequence[Answer]) -> Parity:
    """Compare the answers of two models that were asked here; NaN-named tokens are left out."""
    return compare(
        [count for count, _ in theirs],
        [count for count, _ in own],
        [_top(named) for _, named in theirs],
        [named for _, named in own],
    )


def loss_of(model: EmbeddedBackend, format: Format) -> Limits:
    """Return what a model loses when its weights are rounded to a format; it stays rounded."""
    before = answers_of(model)
    round_weights(model, format)
    parity = apart(answers_of(model), before)
    return Limits(parity.typical, parity.largest)


def kept_loss(path: Path | str, digest: str, format: Format, artifacts: Artifacts | None) -> Limits:
    """Return what the model of a path loses in a format, measured once and kept by its digest."""
    inputs = {"weights": digest, "format": format, "prompts": list(PROMPTS)}
    found = artifacts.find(LOSS, inputs) if artifacts is not None else None
    if found is not None and artifacts is not None:
        said = artifacts.read_json(found, "loss.json")
        return Limits(said["typical"], said["largest"])
    loss = loss_of(open_model(path, artifacts), format)
    if artifacts is not None:
        with artifacts.writing(LOSS, inputs) as folder:
            said = {"typical": loss.typical, "largest": loss.largest}
            artifacts.write_json(folder / "loss.json", said)
    return loss


def round_weights(model: EmbeddedBackend, format: Format) -> None:
    """Round every weight of an open model to a format, in place; tied ones once."""
    done: set[int] = set()
    with torch.no_grad():
        for weight in model.model.parameters():
            if weight.data_ptr() not in done:
                done.add(weight.data_ptr())
                weight.copy_(torch.from_numpy(rounded(weight.numpy(), format)))


def require_same(probe: Probe, name: str, format: str) -> None:
    """Refuse an export that answers otherwise.

    Raises:
        NotTheSame: with what differs.
    """
    unequal = next((one for one in probe.parity.prompts if not one.same_count), None)
    if unequal:
        raise NotTheSame(
            f"{name!r} makes {unequal.counted} tokens of a text that are {unequal.here} here: its "
            "tokenizer is another one",
            next_step="--teacher FILE.gguf, whose tokenizer is copied",
        )
    if not probe.parity.compared:
        raise NotTheSame(f"{name!r} named no token that could be compared")
    far = probe.parity.typical > probe.limits.typical or probe.parity.largest > probe.limits.largest
    if far:
        raise NotTheSame(
            f"{name!r} does not answer as the model it was made of: {probe.in_words()}",
            next_step="--format f16" if format != "f16" else "recsys doctor",
        )


def _top(named: Mapping[str, float]) -> list[tuple[str, float]]:
    certain = [(token, value) for token, value in named.items() if value == value]
    return sorted(certain, key=lambda one: -one[1])[:TOP]
