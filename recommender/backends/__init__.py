"""The model edge: language models that can be asked, behind one protocol.

A backend is handed a `Prompt` and answers with `Scores`. It knows nothing of people,
items or the Store; what crosses this edge is text and numbers. One file a backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from storage.records import FloatArray

Ability = Literal["likelihood", "letters", "stream", "states", "gradients"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a backend holds: enough to know again whether two answers come from one model.

    >>> card = ModelCard("smol", "llama", 30, 576, 134_515_008, "sha256:abc", "float32", "smol/")
    >>> card.key
    'smol@sha256:abc/float32'
    """

    name: str
    family: str
    """The architecture, e.g. 'llama'."""
    layers: int
    """0 where it is not known."""
    hidden_size: int
    parameters: int
    """Tied matrices counted once; 0 where it is not known."""
    digest: str
    """'sha256:…' over every byte of the weights, 'sampled:…' over blocks of a large model."""
    precision: str
    """'float32', 'bfloat16', or the quantisation of a server's model."""
    source: str
    """Where it was opened from, for people."""
    abilities: tuple[Ability, ...] = ()
    device: str = ""
    begins_with: str = ""
    """The token the tokenizer puts before every text; empty where it puts none."""

    @property
    def key(self) -> str:
        """Name, digest and precision: what a label's key and a layer profile are bound to."""
        return f"{self.name}@{self.digest}/{self.precision}"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question: what a person chose so far, and what is offered.

    Titles are kept as they are given; `recommender.prompts` cleans them where it writes
    them into text.

    >>> Prompt(("Alien (1979)",), noun="movies").history
    ('Alien (1979)',)
    """

    history: tuple[str, ...]
    """Titles, oldest first. Empty is allowed and has a defined text."""
    candidates: tuple[str, ...] = ()
    """Titles on offer, which only the letters are asked about."""
    noun: str = "products"
    """What the things are, in the plural: 'movies', 'office products'."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One number for each thing that was asked about, in the order of asking."""

    logprobs: tuple[float, ...]
    """Natural log-probabilities: of a whole title, or of one letter."""
    tokens: tuple[int, ...]
    """How many tokens each sums over."""
    seconds: float = 0.0
    history_shown: int = 0
    """How many of the last history titles fitted into the prompt."""
    outside: float = 0.0
    """Letters: the probability of everything that is none of the labels."""
    states: FloatArray | None = field(default=None, compare=False)
    """(asked layers, hidden size): the state at the end of the history, where asked."""


class Backend(Protocol):
    """A language model the recommender can ask.

    What a model cannot do is missing from `describe().abilities`, and asking for it raises
    `BadSetting` by name; no backend answers with something else instead.
    """

    def describe(self) -> ModelCard:
        """Say what model this is and what it can do."""
        ...

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        """Log-probability of each label as the answer to which candidate comes next."""
        ...

    def likelihood(
        self, prompt: Prompt, titles: Sequence[str], *, states_of: Sequence[int] = ()
    ) -> Scores:
        """Log-probability of each title as the next one of the history."""
        ...

    def unconditional(self, titles: Sequence[str], *, noun: str = "products") -> Scores:
        """Log-probability of each title with no history at all."""
        ...

    def stream(self, text: str, *, limit: int = 200) -> Iterator[str]:
        """Continue `text` piece by piece, at most `limit` tokens, always the likeliest."""
        ...
