"""Why an item might suit a person, in a language model's words, as they come.

Apart from the teacher, which ranks: a reason is written after the fact and decides nothing. What
comes out is raw model text; whoever shows it makes it safe to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recommender.asking.answering import Texts
from recommender.backends import Backend, Prompt
from recommender.backends.errors import ContextTooSmall
from recommender.chat_prompts import reason_turn
from recommender.ranking import Ranker
from recommender.teacher import TeacherRanker
from storage.errors import BadSetting

LIMIT = 60
"""Tokens of a reason: one short sentence."""


def explain(
    backend: Backend, texts: Texts, history: Sequence[int], item: int, *, limit: int = LIMIT
) -> Iterator[str]:
    """Yield the reason for one item, piece by piece; one that is cut at the limit ends in '…'.

    The oldest half of the history is left out until the prompt fits. Closing the iterator stops
    the model.

    Args:
        backend: that can write text.
        texts: of the catalogue.
        history: items, oldest first.
        item: that was recommended.
        limit: tokens, at most.

    Raises:
        BadSetting: it cannot write, or the prompt does not fit without any history.
        BackendError: it did not answer, or not to the end.
    """
    shown = tuple(texts.titles[i] for i in history[-texts.history_length :])
    pieces, last = 0, ""
    while True:
        turn = reason_turn(Prompt(shown, noun=texts.noun), texts.titles[item])
        try:
            for piece in backend.stream(turn, limit=limit):
                yield piece
                pieces, last = pieces + 1, piece
            break
        except ContextTooSmall:
            if not shown:
                raise
            shown = shown[(len(shown) + 1) // 2 :]
    # A token is at most one piece, and the one that ends an answer is none.
    if pieces >= limit and not last.rstrip().endswith((".", "!", "?")):
        yield "…"


def writer(who: str, ranker: Ranker | None) -> TeacherRanker:
    """Return a ranker as one that can give reasons: only a model that writes text can.

    Args:
        who: its name, e.g. 'student' or 'teacher:minilm'.
        ranker: opened; None where the name alone says that it is no model.

    Raises:
        BadSetting: it cannot; with the command that asks one that can.

    >>> writer("popularity", None)
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: 'popularity' is no language model and gives no reasons; ...
    """
    if not isinstance(ranker, TeacherRanker):
        raise BadSetting(
            f"{who!r} is no language model and gives no reasons",
            next_step="the same command with --by teacher --explain",
        )
    card = ranker.backend.describe()
    if "text" not in card.abilities:
        raise BadSetting(
            f"the teacher {card.name!r} writes no text and gives no reasons",
            next_step="--teacher embedded, or a model of the Ollama server, with --by teacher "
            "--explain",
        )
    return ranker
