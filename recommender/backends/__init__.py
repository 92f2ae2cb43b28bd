"""The model edge: language models that can be asked, behind one protocol.

A backend is handed a `Prompt` and answers with `Scores`. It knows nothing of people,
items or the Store; what crosses this edge is text and numbers. One file a backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from storage.errors import BadSetting
from storage.records import FloatArray

Ability = Literal["likelihood", "letters", "text", "json", "similarity", "states", "gradients"]

LEAST = -100.0
"""The log-probability that stands for none: databases and JSON have no minus infinity."""


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
    server: str = ""
    """Program and version of the server that holds it; empty in this process."""
    concurrent: bool = False
    """Whether several requests may be under way at once."""
    options: str = ""
    """What besides model and text decides an answer, e.g. 'num_ctx=4096'; part of a label's key."""
    context: int = 0
    """How many tokens a prompt may have; 0 where nothing says."""

    @property
    def key(self) -> str:
        """Name, digest and precision: what a label's key and a layer profile are bound to."""
        return f"{self.name}@{self.digest}/{self.precision}"


def example_card(*abilities: Ability) -> ModelCard:
    """Return the card of no model, for examples and tests.

    >>> example_card("letters").abilities
    ('letters',)
    """
    return ModelCard("smol", "llama", 30, 576, 0, "sha256:ab", "float32", "here", abilities)


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
    status: str = ""
    """What is wrong with the answer where the backend knows: 'truncated', 'wrong_format' …"""
    details: Mapping[str, object] = field(default_factory=dict)
    """What else is worth keeping with the answer: raw tokens, counts, the server's version."""


@dataclass(frozen=True, slots=True)
class Completion:
    """Text that a model wrote."""

    text: str
    seconds: float
    tokens: int
    """How many it wrote."""
    prompt_tokens: int = 0
    """How many it read; 0 where nobody says."""
    whole: bool = True
    """False where it was cut at the limit."""
    details: Mapping[str, object] = field(default_factory=dict)


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

    def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
        """Answer what a user says, piece by piece, at most `limit` tokens, always the likeliest.

        Closing the iterator stops the model.
        """
        ...

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        """Answer what a user says; with a JSON schema, by text that the schema allows."""
        ...

    def similarity(self, prompt: Prompt) -> Scores:
        """Cosine between the history's texts and each candidate's."""
        ...

    def close(self) -> None:
        """Let go of connections; the backend is of no use afterwards."""
        ...


class Refusing:
    """A `Backend` that can do nothing: what a backend lacks, it inherits from here.

    >>> Refusing().score(Prompt(()), "AB")
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: a model without abilities cannot score letters; ...
    """

    refuses_as = "a model without abilities"
    """How a refusal names the backend."""

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        """Refuse."""
        raise self.refusal("score letters")

    def likelihood(
        self, prompt: Prompt, titles: Sequence[str], *, states_of: Sequence[int] = ()
    ) -> Scores:
        """Refuse."""
        raise self.refusal("score the likelihood of a given title")

    def unconditional(self, titles: Sequence[str], *, noun: str = "products") -> Scores:
        """Refuse."""
        raise self.refusal("score the likelihood of a given title")

    def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
        """Refuse."""
        raise self.refusal("write text")

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        """Refuse."""
        raise self.refusal("write by a JSON schema" if schema else "write text")

    def similarity(self, prompt: Prompt) -> Scores:
        """Refuse."""
        raise self.refusal("compare texts by embeddings")

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def refusal(self, what: str) -> BadSetting:
        """Return the error that names what cannot be done, and by whom."""
        return BadSetting(f"{self.refuses_as} cannot {what}", next_step="recsys models list")
