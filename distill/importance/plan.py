"""What measuring a model would take, in memory and in work, before any weight is there.

Held at the worst moment, in bytes, for n requests side by side of T tokens, of which R predict:

- weights, each matrix once;
- what autograd keeps and what `ghost` keeps beside it: run on 'meta' and counted (`footprint`);
- gradients on the way back, n T (3 ff + 2 width): written down, not run;
- logits, n R vocabulary in float32, which become their own gradient; a copy of a few rows while
  the logarithm of their sum is taken, or of all in the model's precision where it is another;
- the largest buffer of `norms.linear_square`, by the form it takes.

Their sum is an upper bound: activations go as gradients come. What the runtime itself takes is
not in it. Work is in floating-point operations, two to a multiplication with its addition, of
matrix products only; attention is counted as a whole square, since the mask is an additive one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import torch
from transformers import LlamaConfig, PretrainedConfig

from distill.importance.footprint import footprint
from distill.importance.gradients.head import ROWS
from distill.importance.gradients.norms import by_gram, gram_entries
from distill.importance.shapes import (
    Parameters,
    attention_width,
    linears,
    parameters,
    without_weights,
)
from recommender.backends.packed import Pack, pack

Verdict = Literal["fits", "fits with gradient checkpointing", "does not fit"]

GB = 10**9
CARD = 24 * GB
"""A card that is sold with 24 GB: it has 7 % more, which is left to the runtime."""
LLAMA_3_8B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=8192,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
)
"""Source: Grattafiori et al., The Llama 3 Herd of Models, arXiv:2407.21783, table 3."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by what they are for."""

    weights: int
    activations: int
    inputs: int
    gradients: int
    logits: int
    buffer: int

    @property
    def total(self) -> int:
        """Return their sum."""
        return sum(getattr(self, one.name) for one in fields(self))


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations for one request."""

    forward: int
    back: int
    """Gradients by activations only."""
    norms: int
    """Of all weight gradients, each by the cheaper form."""
    naive: int
    """A pass and a way back that forms the gradient of every weight, as autograd does."""

    @property
    def ghost(self) -> int:
        """Return what is spent without forming gradients."""
        return self.forward + self.back + self.norms


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run it: everything kept, or one layer at a time."""

    one: Memory
    """With one request."""
    batch: int
    """Requests side by side, the most that fit; 1 where not even one does."""
    memory: Memory
    """With as many."""
    fits: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What measuring a model takes."""

    name: str
    dtype: str
    parameters: Parameters
    tokens: int
    predicting: int
    candidates: int
    memory_bytes: int
    whole: Way
    """Everything is kept for the way back."""
    checkpointed: Way
    """One state a layer is kept, and each layer run again."""
    body: Work
    head: Work

    @property
    def verdict(self) -> Verdict:
        """Say whether it can be done."""
        if self.whole.fits:
            return "fits"
        return "fits with gradient checkpointing" if self.checkpointed.fits else "does not fit"

    @property
    def chosen(self) -> Way:
        """Return the way to go: checkpointing only where there is no other, as it costs time."""
        return self.whole if self.whole.fits else self.checkpointed


def plan(
    config: PretrainedConfig,
    *,
    dtype: torch.dtype,
    tokens: int,
    predicting: int,
    candidates: int,
    memory_bytes: int,
) -> Plan:
    """Work out what measuring a model takes.

    Args:
        config: Of a causal language model in the Llama layout; left as it is.
        dtype: Of its weights.
        tokens: T of one request: the history and the titles, each but for its last token.
        predicting: R, how many of them predict one: the history's last and all of the titles.
        candidates: How many titles.
        memory_bytes: What there is.

    Raises:
        ValueError: No request looks like that.
        BadData: The architecture is another, or unknown.

    >>> small = LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=16,
    ...     num_hidden_layers=2, num_attention_heads=2)
    >>> found = plan(small, dtype=torch.float32, tokens=6, predicting=3, candidates=2,
    ...     memory_bytes=10**6)
    >>> found.verdict, found.parameters.total, found.whole.memory.weights
    ('fits', 1832, 7328)
    """
    one = _request(tokens, predicting, candidates)
    model = without_weights(config, dtype)
    counted, size = footprint(model, [one]), dtype.itemsize
    shapes = linears(model, tokens, predicting)
    head = (predicting, model.lm_head.in_features, model.lm_head.out_features)
    count = parameters(model)
    gradients = tokens * (3 * config.intermediate_size + 2 * config.hidden_size) * size

    def way(activations: int, inputs: int) -> Way:
        def memory(n: int) -> Memory:
            return Memory(
                weights=count.total * size,
                activations=n * activations,
                inputs=n * inputs,
                gradients=n * gradients,
                logits=logit_bytes(n * head[0], head[2], dtype),
                buffer=max(norm_buffer(n, *shape, dtype) for shape in [*shapes, head]),
            )

        return _way(memory, memory_bytes)

    return Plan(
        name=str(config.model_type),
        dtype=str(dtype).removeprefix("torch."),
        parameters=count,
        tokens=tokens,
        predicting=predicting,
        candidates=candidates,
        memory_bytes=memory_bytes,
        whole=way(counted.saved, counted.inputs),
        checkpointed=way(counted.lasting + counted.inside, counted.inside_inputs),
        body=_work(shapes, tokens, attention=4 * tokens**2 * attention_width(model)),
        head=_work([head], predicting),
    )


def logit_bytes(rows: int, vocabulary: int, dtype: torch.dtype) -> int:
    """Return the bytes that `head.TokenLogprobs` holds of logits, at its worst.

    Args:
        rows: n R, over all samples.
        vocabulary: Their width.
        dtype: Of the model.

    >>> logit_bytes(100, 10, torch.float32), logit_bytes(100, 10, torch.bfloat16)
    (5280, 6000)
    """
    copied = rows * dtype.itemsize if dtype != torch.float32 else 0
    return vocabulary * (4 * rows + max(copied, 4 * min(rows, ROWS)))


def norm_buffer(n: int, tokens: int, p: int, q: int, dtype: torch.dtype) -> int:
    """Return the bytes that `norms.linear_square` holds besides A and B, at its worst.

    Args:
        n: Samples.
        tokens: T.
        p: Width of the inputs A.
        q: Width of the gradients B.
        dtype: Of both.

    Returns:
        Two quarters of grams, n T/2 T/2 in float32, and the second's forerunner in `dtype`; or,
        sample by sample, one q p gradient.

    >>> norm_buffer(2, 3, 10, 20, torch.float32), norm_buffer(2, 30, 10, 20, torch.float32)
    (64, 800)
    """
    if by_gram(tokens, p, q):
        return (
            n * ((tokens + 1) // 2) ** 2 * (8 + (dtype.itemsize if dtype != torch.float32 else 0))
        )
    return p * q * dtype.itemsize


def plan_lines(found: Plan) -> list[str]:
    """Say a plan in words and numbers, a line each; GB are 10⁹ bytes, TFLOP 10¹² operations.

    >>> found = plan(LLAMA_3_8B, dtype=torch.bfloat16, tokens=512, predicting=371, candidates=20,
    ...     memory_bytes=CARD)
    >>> for line in plan_lines(found)[:2]:
    ...     print(line)
    llama, 8.03 billion weights in bfloat16: body 6.98, embedding 0.53, head 0.53
    a request: 512 tokens, 371 of them predict, 20 candidates
    """
    count, ways = found.parameters, (found.whole, found.checkpointed)
    many, unit = (GB, "billion") if count.total >= GB else (10**6, "million")
    head = f"head {count.head / many:.2f}" if count.head else "which is the head too"
    rows = [
        (label, *(f"{getattr(way.one, name) / GB:.3f} GB" for way in ways))
        for name, label in _PARTS.items()
    ]
    rows.append(("together", *(f"{way.one.total / GB:.3f} GB" for way in ways)))
    rows.append(("most side by side", *(f"{way.batch:,}" if way.fits else "0" for way in ways)))
    rows.append(("and they take", *(f"{way.memory.total / GB:.3f} GB" for way in ways)))
    return [
        f"{found.name}, {count.total / many:.2f} {unit} weights in {found.dtype}: "
        f"body {count.body / many:.2f}, embedding {count.embedding / many:.2f}, {head}",
        f"a request: {found.tokens:,} tokens, {found.predicting:,} of them predict, "
        f"{found.candidates:,} candidates",
        f"{'one request':24}{'all layers kept':>18}{'layer by layer':>18}",
        *(f"{label:24}{whole:>18}{little:>18}" for label, whole, little in rows),
        _verdict_line(found),
        *_work_lines(found),
    ]


_PARTS = {
    "weights": "weights",
    "activations": "activations",
    "inputs": "inputs for the norms",
    "gradients": "gradients on their way",
    "logits": "logits",
    "buffer": "buffer of a norm",
}


def _verdict_line(found: Plan) -> str:
    there, needed = found.memory_bytes / GB, found.chosen.memory.total / GB
    line = f"{there:.1f} GB are there: it {found.verdict}"
    if found.verdict == "does not fit":
        return f"{line}; one request alone takes {needed:.3f} GB layer by layer"
    many = found.chosen.batch
    return f"{line}, {many:,} request{'s' if many > 1 else ''} at a time, in {needed:.3f} GB"


def _work_lines(found: Plan) -> list[str]:
    both = (found.body, found.head)
    forward, back, norms, naive, ghost = (
        sum(getattr(part, name) for part in both)
        for name in ("forward", "back", "norms", "naive", "ghost")
    )
    again = found.body.forward
    every = forward + found.candidates * (back + norms)
    return [
        f"work a request: {_tera(ghost)} TFLOP, of which forward {_tera(forward)}, back "
        f"{_tera(back)}, norms {_tera(norms)}",
        f"the naive loop: {_tera(naive)} TFLOP and a gradient as large as the model; ours is "
        f"{ghost / naive:.2f} of it, {(ghost + again) / naive:.2f} layer by layer",
        f"the exact true Fisher, back from each candidate: {_tera(every)} TFLOP",
        "counted in a run without weights: weights, activations, inputs; worked out: the rest, and "
        "what attention keeps",
        "not counted: what the runtime takes for itself; on a CPU a third more was seen, and "
        "layer by layer up to three times as much, as freed memory is not given back at once",
    ]


def _tera(operations: int) -> str:
    return f"{operations / 1e12:.3g}"


def _request(tokens: int, predicting: int, candidates: int) -> Pack:
    """Lay out a request of those lengths; each candidate's last token is not run."""
    fed = predicting - 1
    if not (candidates >= 1 and 0 <= fed < tokens):
        raise ValueError(f"{tokens} tokens, {predicting} predicting, {candidates} candidates")
    share, rest = divmod(fed, candidates)
    titles = [[0] * (share + (number < rest) + 1) for number in range(candidates)]
    return pack([0] * (tokens - fed), titles)


def _work(shapes: list[tuple[int, int, int]], tokens: int, attention: int = 0) -> Work:
    """Add up matrices that `tokens` go through, and attention, whose way back is two of it."""
    products = sum(2 * tokens * p * q for _, p, q in shapes)
    forward, back = products + attention, products + 2 * attention
    norms = sum(2 * min(gram_entries(t) * (p + q), t * p * q) for t, p, q in shapes)
    return Work(forward, back, norms, naive=forward + back + products)


def _way(memory: Callable[[int], Memory], limit: int) -> Way:
    """Find the most requests side by side that fit, by halving."""
    if memory(1).total > limit:
        return Way(memory(1), 1, memory(1), fits=False)
    fits, over = 1, 2
    while memory(over).total <= limit:
        fits, over = over, 2 * over
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if memory(middle).total <= limit else (fits, middle)
    return Way(memory(1), fits, memory(fits), fits=True)
