"""True parts, small enough for a test: a Llama of random weights, an encoder, a shop.

Nothing here stands in for anything: the network is run, the tokenizer was trained, the titles
and purchases are those of the synthetic sample, of fewer people.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recommender.backends import Completion, ModelCard, Prompt, Scores
from recommender.backends.embedded import EmbeddedBackend
from recommender.datasets.sample_shoppers import sample_interactions, sample_items
from recommender.events import Event, Progress
from storage.records import NO_PART, Category, FloatArray, ImportData, InteractionChunk
from storage.store import Store

PEOPLE = 150
SHOP = "Tiny shop"
LAYERS = 3

T = TypeVar("T")


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer trained on the sample's titles: any text, few tokens a title."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    inner.train_from_iterator((f" {row.title}\n" for row in sample_items()), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")


def save_llama(path: Path, *, seed: int = 0, layers: int = LAYERS) -> Path:
    """Write a Llama of random weights as a Hugging Face directory."""
    torch.manual_seed(seed)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        max_position_embeddings=2048,
        eos_token_id=words.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    words.save_pretrained(path)
    return path


def save_encoder(path: Path, *, seed: int = 0) -> Path:
    """Write a sentence encoder: a vector a token, of chance, and their mean."""
    # Imported here: it takes seconds, and few tests want it.
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = tokenizer().backend_tokenizer
    vectors = np.random.default_rng(seed).normal(size=(words.get_vocab_size(), 16))
    static = StaticEmbedding(words, embedding_weights=vectors.astype(np.float32))
    SentenceTransformer(modules=[static], device="cpu").save(str(path))
    (path / "config.json").write_text("{}")  # by it a directory is told to be a model's
    return path


def open_llama(path: Path) -> EmbeddedBackend:
    """Open one in float32 on the CPU."""
    return EmbeddedBackend.open(path, device="cpu", precision="float32")


def spell(backend: EmbeddedBackend, letters: str = "ABCDEFGHIJ") -> EmbeddedBackend:
    """Change a small Llama's head so that it nearly always names a letter after a colon."""
    (colon,) = backend.tokenizer(":")["input_ids"]
    named = [token for letter in letters for token in backend._label_tokens(letter)]
    with torch.no_grad():
        body = backend.model.model
        body.embed_tokens.weight[colon] *= 30
        state = body.norm(body.embed_tokens.weight[colon])
        head = backend.model.lm_head.weight
        head *= 0.1
        head[named] += 8 * state / (state @ state)
    return backend


class Letters:
    """A true text encoder: how often each letter and digit occurs, scaled to length 1."""

    name = "letters@1"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        signs = "abcdefghijklmnopqrstuvwxyz0123456789"
        rows = np.array(
            [[1 + text.lower().count(sign) for sign in signs] for text in texts], dtype=np.float32
        )
        rows -= rows.mean(axis=1, keepdims=True) - 0.1
        lengths: FloatArray = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / lengths


class Counting:
    """Passes every question on to a real backend, and writes down what was asked."""

    def __init__(self, inner: EmbeddedBackend) -> None:
        self.inner = inner
        self.prompts: list[Prompt] = []
        self.titles: list[str] = []

    def describe(self) -> ModelCard:
        return self.inner.describe()

    def likelihood(
        self, prompt: Prompt, titles: Sequence[str], *, states_of: Sequence[int] = ()
    ) -> Scores:
        self.prompts.append(prompt)
        return self.inner.likelihood(prompt, titles, states_of=states_of)

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        self.prompts.append(prompt)
        return self.inner.score(prompt, labels)

    def unconditional(self, titles: Sequence[str], *, noun: str = "products") -> Scores:
        self.titles += titles
        return self.inner.unconditional(titles, noun=noun)

    def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
        return self.inner.stream(turn, limit=limit)

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        return self.inner.complete(turn, schema=schema, limit=limit)

    def similarity(self, prompt: Prompt) -> Scores:
        self.prompts.append(prompt)
        return self.inner.similarity(prompt)

    def close(self) -> None:
        self.inner.close()


@cache
def purchases() -> InteractionChunk:
    """The log of the sample; making it takes half a second."""
    return sample_interactions(0)


def add_shop(store: Store, *, people: int = PEOPLE, name: str = SHOP) -> Category:
    """Write the first people of the synthetic sample as a category."""
    chunk, items = purchases(), sample_items()
    number = {row.id: place for place, row in enumerate(items)}
    users = list(dict.fromkeys(chunk.users))[:people]
    person = {one: place for place, one in enumerate(users)}
    rows = [row for row, user in enumerate(chunk.users) if user in person]
    return store.catalogue.write(
        name,
        ImportData(
            user_ids=users,
            items=items,
            user=np.array([person[chunk.users[row]] for row in rows], dtype=np.int64),
            item=np.array([number[chunk.items[row]] for row in rows], dtype=np.int64),
            time=chunk.time[rows],
            rating=chunk.rating[rows],
            part=np.full(len(rows), NO_PART, dtype=np.int8),
        ),
        source="sample, in part",
        synthetic=True,
        rating_low=1.0,
        rating_high=5.0,
        note="made by a test",
        digest=f"sample of {people}",
    )


def finished(job: Generator[Event, None, T]) -> tuple[list[Event], T]:
    """Run a job to its end; return what it said and what it returned."""
    said = []
    while True:
        try:
            said.append(next(job))
        except StopIteration as stop:
            return said, stop.value


def stopped(job: Generator[Event, None, object], when: Callable[[Event], bool]) -> list[Event]:
    """Run a job until it says something, and close it there; return what it said."""
    said: list[Event] = []
    for event in job:
        said.append(event)
        if when(event):
            job.close()
            return said
    raise AssertionError("the job ended before it was stopped")


def stopped_at(job: Generator[Event, None, object], stage: str, done: int) -> list[Event]:
    """Run a job until a stage has got so far, and close it there; return what it said."""
    return stopped(job, lambda e: isinstance(e, Progress) and (e.stage, e.done) == (stage, done))
