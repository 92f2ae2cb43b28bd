"""The losses of an adaptation, on rows of logits: which letter, that it is one, and which title.

The letter loss is listwise: cross-entropy over the letters that were offered and nothing
else, at the one place where the answer stands (as LlamaRec ranks; FIRST 2406.15657 adds a
pairwise term, which needs a teacher's order that nobody has here: one item is right). That
loss does not mind what the letters have beside all other words; who asks the teacher does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def letter_scores(logits: Tensor, variants: Sequence[Sequence[int]]) -> Tensor:
    """Score each letter by all tokens that spell it: (C,), float32.

    Formula: s_c = log Σ_v exp z_v over the tokens v of letter c (' A' and 'A').

    Args:
        logits: (V,) at the answer.
        variants: token numbers, one list a letter.

    >>> z = torch.tensor([0.0, 0.0, 1.0])
    >>> [round(s, 4) for s in letter_scores(z, [[0, 1], [2]]).tolist()]
    [0.6931, 1.0]
    """
    wide = logits.float()
    return torch.stack([torch.logsumexp(wide[list(some)], dim=0) for some in variants])


def letters_loss(scores: Tensor, target: int) -> Tensor:
    """Return the listwise loss of one question.

    Formula: −log softmax_c(s)[y], over the C letters offered only.

    Args:
        scores: (C,) of `letter_scores`.
        target: y.

    >>> round(float(letters_loss(torch.zeros(4), 2)), 4)
    1.3863
    """
    return torch.logsumexp(scores, dim=0) - scores[target]


def said_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """Return what it costs that the answer may be no letter at all, in nats; float32.

    Formula: −log(Σ_c exp s_c / Σ_v exp z_v), over all tokens v. Added to `letters_loss` it is
    cross-entropy over the whole vocabulary.

    Args:
        logits: (V,) at the answer.
        scores: (C,) of `letter_scores`.

    >>> z = torch.zeros(8)
    >>> round(float(said_loss(z, letter_scores(z, [[0, 1], [2, 3]]))), 4)
    0.6931
    """
    return torch.logsumexp(logits.float(), dim=0) - torch.logsumexp(scores, dim=0)


def title_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of a question's title tokens, in nats; float32.

    Formula: (1/S) Σ_s −log softmax(z_s)[t_s]. A mean over the question's own tokens, so that
    a person with a long history counts as much as one with a short one.

    Args:
        logits: (S, V).
        targets: (S,).

    >>> round(float(title_loss(torch.zeros(3, 8), torch.tensor([1, 2, 3]))), 4)
    2.0794
    """
    return torch.nn.functional.cross_entropy(logits.float(), targets)
