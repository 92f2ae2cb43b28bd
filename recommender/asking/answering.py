"""One request put to one backend, by whichever method it names, and the record of the answer.

Apart from the bulk job, which decides what is asked when, and from the backends, which know
texts only. Each method is a line of `answer`; a backend that lacks it refuses by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from recommender.asking.grounding import Grounder, generate
from recommender.asking.orders import rotated, shifts
from recommender.asking.rankings import LIMIT_PER_LETTER, ranking_schema, read_ranking
from recommender.asking.requests import OPEN, Question, addressed
from recommender.backends import LEAST, Backend, ModelCard, Prompt, Scores
from recommender.chat_prompts import (
    GENERATE_TEMPLATE,
    LETTERS_CHAT_TEMPLATE,
    RANKING_TEMPLATE,
    ranking_turn,
)
from recommender.letters import DECLINED_OUTSIDE
from recommender.prompts import LETTERS_TEMPLATE, LIKELIHOOD_TEMPLATE, SIMILARITY_TEMPLATE
from storage.errors import BadSetting
from storage.records import LabelRequest, SoftLabel

TEMPLATES = {
    "likelihood": LIKELIHOOD_TEMPLATE,
    "letters": LETTERS_TEMPLATE,
    "ranking": RANKING_TEMPLATE,
    "generate": GENERATE_TEMPLATE,
    "similarity": SIMILARITY_TEMPLATE,
}
IN_ORDERS = ("letters", "ranking")
"""Methods whose answer depends on the order of the candidates."""

METHOD_NEEDS = {
    "likelihood": "likelihood",
    "letters": "letters",
    "ranking": "json",
    "generate": "text",
    "similarity": "similarity",
}
"""Which ability of a backend each method stands on."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What a catalogue looks like to a teacher."""

    titles: Sequence[str]
    """One an item number."""
    noun: str
    history_length: int
    """How many of the last items a prompt shows."""
    variant: str = ""
    """What tells these texts from the plain titles; empty where they are the titles."""

    def scored_by(self, teacher: ModelCard) -> str:
        """Return under which name the texts' own likelihoods are kept.

        >>> from recommender.backends import example_card
        >>> Texts(["a"], "things", 5, variant="1f").scored_by(example_card())
        'smol@sha256:ab/float32#1f'
        """
        return f"{teacher.key}#{self.variant}" if self.variant else teacher.key

    def prompt(self, question: Question | LabelRequest) -> Prompt:
        """Return the prompt of a question: the end of its history, and its candidates.

        >>> question = Question(0, 3, (0, 1), (2,), 0)
        >>> Texts(["a", "b", "c"], "things", 1).prompt(question)
        Prompt(history=('b',), candidates=('c',), noun='things')
        """
        return Prompt(
            history=tuple(self.titles[i] for i in question.history[-self.history_length :]),
            candidates=tuple(self.titles[i] for i in question.candidates),
            noun=self.noun,
        )


def address(
    questions: Sequence[Question],
    texts: Texts,
    *,
    category_id: int,
    purpose: str,
    teacher: ModelCard,
    method: str = "likelihood",
    orders: int = 1,
    grounded_by: str = "",
) -> list[LabelRequest]:
    """Address questions to a teacher: the requests as the Store keeps them.

    Letters and rankings are asked in `orders` rotations each, which follow one another.
    `grounded_by` names the encoder that finds a guess in the catalogue.

    >>> from recommender.backends import example_card
    >>> asked = address([Question(0, 3, (0,), (1, 2), 0)], Texts(["a", "b", "c"], "things", 5),
    ...                 category_id=1, purpose="gate", teacher=example_card(),
    ...                 method="letters", orders=2)
    >>> [(r.candidates, r.target, r.shift) for r in asked]
    [((1, 2), 0, 0), ((2, 1), 1, 1)]
    """
    template = _template(teacher, method, texts.noun)
    if method == "generate" and grounded_by:
        template = f"{template}/{grounded_by}"
    requests = []
    for question in questions:
        turns = shifts(len(question.candidates), orders) if method in IN_ORDERS else (0,)
        for shift in turns:
            turned = _turned(question, shift)
            prompt = texts.prompt(turned)
            request = addressed(
                turned,
                category_id=category_id,
                purpose=purpose,
                teacher=teacher.key,
                method=method,
                template=template,
                shown=prompt.history,
                offered=prompt.candidates,
                shift=shift,
            )
            requests.append(request)
    return requests


def soft_label(request: LabelRequest, scores: Scores) -> SoftLabel:
    """Return the record of one answer; letters under half the probability are declined.

    >>> from recommender.backends import example_card
    >>> request = address([Question(0, 3, (0,), (1,), 0)], Texts(["a", "b"], "things", 5),
    ...                   category_id=1, purpose="gate", teacher=example_card())[0]
    >>> soft_label(request, Scores((-3.5,), (4,))).status
    'ok'
    """
    declined = request.method == "letters" and scores.outside > DECLINED_OUTSIDE
    return SoftLabel(
        key=request.key,
        scores=scores.logprobs,
        tokens=scores.tokens,
        status=scores.status or ("declined" if declined else "ok"),
        seconds=scores.seconds,
        details={
            "history_shown": scores.history_shown,
            "outside": scores.outside,
            **scores.details,
        },
    )


def answer(
    backend: Backend,
    request: LabelRequest,
    texts: Texts,
    *,
    states_of: Sequence[int] = (),
    grounder: Grounder | None = None,
) -> Scores:
    """Ask one request by its method.

    Raises:
        BadSetting: the backend cannot do it.
        BackendError: it did not answer.
    """
    prompt = texts.prompt(request)
    labels = ascii_uppercase[: len(prompt.candidates)]
    match request.method:
        case "letters":
            return backend.score(prompt, labels)
        case "ranking":
            return ask_ranking(backend, prompt, labels)
        case "generate":
            if grounder is None:
                raise BadSetting("what a model names freely needs a catalogue to be found in")
            return generate(backend, prompt, request.candidates, grounder)
        case "similarity":
            return backend.similarity(prompt)
        case _:
            return backend.likelihood(prompt, prompt.candidates, states_of=states_of)


def ask_ranking(backend: Backend, prompt: Prompt, labels: Sequence[str]) -> Scores:
    """Ask for all letters in order, as JSON: the road without log-probabilities.

    The scores count how many candidates each is ranked above; an answer that cannot be read is
    'wrong_format', one that was mended says how.
    """
    limit = LIMIT_PER_LETTER * len(labels) + 16
    done = backend.complete(
        ranking_turn(prompt, labels), schema=ranking_schema(labels), limit=limit
    )
    read = read_ranking(done.text, labels)
    return Scores(
        logprobs=read.scores or (LEAST,) * len(labels),
        tokens=(1,) * len(labels),
        seconds=done.seconds,
        history_shown=len(prompt.history),
        status="" if read.order else "wrong_format",
        details={**done.details, "text": done.text[:400], "repaired": list(read.repaired)},
    )


def _turned(question: Question, shift: int) -> Question:
    if not shift:
        return question
    count = len(question.candidates)
    target = question.target if question.target == OPEN else (question.target - shift) % count
    candidates = rotated(question.candidates, shift)
    return Question(question.user, question.event, question.history, candidates, target)


def _template(teacher: ModelCard, method: str, noun: str) -> str:
    """Name the wording and every option that an answer depends on."""
    chat = method == "letters" and teacher.server
    wording = LETTERS_CHAT_TEMPLATE if chat else TEMPLATES[method]
    return "/".join(part for part in (wording, noun, teacher.options) if part)
