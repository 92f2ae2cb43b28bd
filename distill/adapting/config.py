"""What an adaptation is asked to do: one frozen record, kept with its run. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import get_args

from distill.config import DistilConfig, SplitKind
from distill.ranges import require_range
from recommender.candidates import Mix
from recommender.letters import MOST
from storage.errors import BadSetting

FEWEST_MINUTES = 1
FEWEST_TOKENS = 64
"""Below this a prompt of a few candidates has no room for a history."""


@dataclass(frozen=True, slots=True)
class AdaptConfig:
    """Everything `recsys adapt` decides.

    >>> AdaptConfig("Books").candidates
    10
    """

    category: str
    teacher: str = "embedded"
    """Name, directory, GGUF file or hub id: weights that can be opened in this process."""
    seed: int = 0
    minutes: float = 60.0
    """Time to fit everything into, judging included; 0 means no limit (`epochs` decides)."""
    requests: int = 0
    """Training requests to learn from; 0 means all there are."""
    epochs: int = 3
    """Passes over them, at most."""
    split: SplitKind = "temporal"
    min_rating: float | None = None
    """Interactions rated lower, on the source's own scale, are no positives."""
    device: str = "auto"
    precision: str = "auto"
    candidates: int = 10
    mix: Mix = "uniform"
    """Where negatives come from, as in `TeacherConfig`."""
    history_length: int = 10
    """Titles of the history that a prompt shows at most."""
    prompt_tokens: int = 220
    """Longest question that is learned from: the history is cut by whole titles, then the
    candidates' titles are shortened. Judged on whole titles too, which is how it will be asked."""
    rank: int = 8
    """Of the adapters, on every linear map inside the layers."""
    letters_weight: float = 1.0
    """Of the listwise loss over the letters."""
    said_weight: float = 0.5
    """Of what it costs that the answer may be no letter: a teacher who says none is declined."""
    lm_weight: float = 0.3
    """Of the mean loss of the titles' tokens: those of the history, and the next one."""
    shown: float = 0.6
    """Share of the steps in which the item that came next may stand in the history: always in
    the first half of them, then ever more rarely. It teaches that a letter means the title beside
    it, which questions of what comes next teach too slowly. 0: never."""
    fewest: int = 2
    """Candidates of a training question at least: each draws how many up to `candidates` are
    offered. Few are shorter to read and easier to tell apart; judged is on all."""
    learning_rate: float = 1e-3
    warmup: float = 0.05
    batch: int = 8
    """Questions a step."""
    evaluations: int = 8
    """Times it is measured on validation, evenly spaced."""
    patience: int = 2
    """Measurements without a better one before it stops, counted once answers are not shown."""
    valid_requests: int = 160
    """Validation requests, each of another person."""
    test_requests: int = 500
    """Test requests, each of another person."""
    whole_requests: int = 100
    """Of these, how many are also asked whole, as a teacher is: by letters and by likelihood,
    which takes many times as long. As many validation requests, but no fewer than 32,
    calibrate how its letters are read from then on."""
    merged: bool = True
    """Merge into the weights; False keeps the adapter alone."""

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values, as they come back from where a run is stored.

        >>> AdaptConfig("Books").as_dict()["rank"]
        8
        """
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    def asking(self) -> DistilConfig:
        """Return the distillation whose ground and candidates are the same.

        >>> AdaptConfig("Books", candidates=5).asking().teacher.candidates
        5
        """
        return DistilConfig(
            self.category, seed=self.seed, split=self.split, min_rating=self.min_rating
        ).with_teacher(
            spec=self.teacher,
            device=self.device,
            precision=self.precision,
            candidates=self.candidates,
            mix=self.mix,
            history_length=self.history_length,
        )


def check(config: AdaptConfig) -> None:
    """Refuse what cannot work, before anything expensive is begun.

    Raises:
        BadSetting: a figure out of its range.

    >>> check(AdaptConfig("Books", candidates=40))
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: 40 candidates cannot be asked by letters: from 2 to 20
    """
    if not 2 <= config.candidates <= MOST:
        raise BadSetting(
            f"{config.candidates} candidates cannot be asked by letters: from 2 to {MOST}"
        )
    if config.mix not in get_args(Mix):
        raise BadSetting(f"no mix {config.mix!r}: one of {', '.join(get_args(Mix))}")
    require_range(config, "minutes", "requests", "said_weight", least=0)
    if 0 < config.minutes < FEWEST_MINUTES:
        raise BadSetting(
            f"{config.minutes:g} minutes are too few to judge, let alone to learn: at least "
            f"{FEWEST_MINUTES}, or 0 for no limit"
        )
    if min(config.letters_weight, config.lm_weight) < 0 or not (
        config.letters_weight or config.lm_weight
    ):
        raise BadSetting(
            f"the weights of the losses are {config.letters_weight} for letters and "
            f"{config.lm_weight} for titles: none may be negative, and one must count"
        )
    if config.prompt_tokens < FEWEST_TOKENS:
        raise BadSetting(
            f"{config.prompt_tokens} tokens have no room for a question: at least {FEWEST_TOKENS}"
        )
    require_range(
        config,
        *("rank", "batch", "epochs", "evaluations", "patience", "history_length"),
        *("valid_requests", "test_requests", "whole_requests"),
        least=1,
    )
    require_range(config, "learning_rate", above=0)
    require_range(config, "shown", least=0, below=1)
    require_range(config, "fewest", least=2, most=config.candidates)
