"""The adaptation as a task of the loop: shares of a step, passes, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase

import numpy as np
import pytest
import torch

from distill.adapting import learner
from distill.adapting.adapters import insert, trained
from distill.adapting.events import CurvePoint
from distill.adapting.layout import lettered
from distill.adapting.learner import Lesson, mean_reciprocal_rank
from distill.adapting.learning import AdaptTask, learn, loop_of
from distill.adapting.measuring import short_letters
from distill.adapting.planning import Plan
from distill.adapting.questions import TrainingQuestions, choosing_questions
from distill.ground import Ground, sampler
from distill.language.loop import Place
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import StageSkipped
from storage.store import Store
from tests.distill.adapting.conftest import adapting
from tests.tiny import finished, open_llama


@pytest.fixture
def lesson(llama: Path, ground: Ground, training: TrainingQuestions) -> Lesson:
    config = adapting()
    draw = sampler(ground, config.asking())
    choosing = choosing_questions(ground.split, draw, seed=0, most=config.valid_requests)
    return Lesson(open_llama(llama), ground.texts, training, choosing, config)


@pytest.fixture
def task(lesson: Lesson) -> AdaptTask:
    return AdaptTask(lesson, insert(lesson.backend.model, 2, seed=0), {"data": "d"})


def gradients(task: AdaptTask, pieces: Sequence[Sequence[int]], place: Place) -> torch.Tensor:
    task.module.zero_grad()
    for piece in pieces:
        torch.stack(list(task.losses(piece, place).values())).sum().backward()
    return torch.cat([p.grad.flatten() for p in task.module.parameters() if p.grad is not None])


@pytest.mark.parametrize("step", [0, 5])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_step_in_pieces_has_the_losses_and_the_gradient_of_one(
    task: AdaptTask, size: int, step: int
) -> None:
    place = Place(step, 6, 0, (4, 0, 17, 9, 30, 2))
    pieces = [place.examples[at : at + size] for at in range(0, 6, size)]
    whole = task.losses(place.examples, place)
    parts = [task.losses(piece, place) for piece in pieces]
    for name, value in whole.items():
        assert sum(part[name].item() for part in parts) == pytest.approx(value.item(), rel=1e-4)
    together = gradients(task, [place.examples], place)
    assert float(together.abs().max()) > 0
    torch.testing.assert_close(gradients(task, pieces, place), together, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("step", [1, 5])
def test_a_step_is_the_mean_over_its_questions(task: AdaptTask, lesson: Lesson, step: int) -> None:
    place = Place(step, 6, 0, (3, 8, 11))
    easing = lesson.easing(place.step, place.steps)
    alone = [lesson.losses([lesson.example(number, 0, easing)]) for number in place.examples]
    found = task.losses(place.examples, place)
    assert set(found) == {"letters", "said", "titles"}
    for name, value in found.items():
        expected = np.mean([one[name].item() for one in alone])
        assert value.item() == pytest.approx(expected, rel=1e-4)


def test_each_loss_is_what_the_model_says_times_its_weight(lesson: Lesson) -> None:
    """The twin is the teacher's own answer by letters, asked as anybody asks it."""
    most = 2000  # nothing is cut: a teacher is asked whole questions
    lesson = replace(
        lesson, config=adapting(said_weight=0.7, letters_weight=1.3, prompt_tokens=most)
    )
    one = lesson.example(3, 0)
    question = lesson.training.question(3, 0)
    prompt = lesson.texts.prompt(question)
    answer = lesson.backend.score(prompt, ascii_uppercase[: len(prompt.candidates)])
    letters = np.logaddexp.reduce(answer.logprobs)
    with torch.no_grad():
        found = {name: value.item() for name, value in lesson.losses([one]).items()}
    expected = 1.3 * (letters - answer.logprobs[question.target])
    assert found["letters"] == pytest.approx(expected, rel=1e-4)
    assert found["said"] == pytest.approx(0.7 * -letters, rel=1e-4)
    assert found["said"] > 0.1


def test_each_question_is_of_its_own_pass_where_a_step_has_two(
    task: AdaptTask, lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    example = Lesson.example
    monkeypatch.setattr(
        Lesson, "example", lambda *given: asked.append(given[1:]) or example(*given)
    )
    count = len(lesson.training)
    # Step 1 of as many less two: two questions end the first pass, the rest begin the second.
    order = (*range(count - 4), 40, 41)
    task.losses(order[-6:], Place(1, 9, 0, order))
    easing = lesson.easing(1, 9)
    expected = [
        (number, 0 if count - 2 + at < count else 1, easing) for at, number in enumerate(order)
    ]
    assert asked == expected[-6:]


def test_questions_are_easy_at_first_and_in_the_end_as_they_will_be_asked(lesson: Lesson) -> None:
    steps = 20
    shares: dict[str, list[float]] = {"first": [], "middle": [], "last": []}
    sizes = set()
    for step in range(steps):
        easing = lesson.easing(step, steps)
        some = [lesson.training.question(n, 0, easing) for n in range(len(lesson.training))]
        here = {len(one.candidates) for one in some}
        assert len(here) > 1, "each question draws its own number"
        sizes |= here
        plain = [lesson.training.question(n, 0) for n in range(len(lesson.training))]
        for easy, one in zip(some, plain, strict=True):
            assert easy.candidates[easy.target] == one.candidates[one.target]
            kept = [item for item in one.candidates if item in easy.candidates]
            assert kept == list(easy.candidates), "rivals keep their order"
        told = [one.candidates[one.target] in one.history for one in some]
        own = [one.candidates[one.target] in one.history for one in plain]
        part = "first" if step < 6 else "middle" if step < 12 else "last"
        shares[part].append(float(np.mean(np.array(told) & ~np.array(own))))
    assert sizes == {2, 3, 4, 5}
    assert min(shares["first"]) == 1
    assert 0.3 < np.mean(shares["middle"]) < 0.8
    assert max(shares["last"]) == 0


def test_what_is_shown_stands_in_the_prompt_and_is_not_learned_by_copying(
    lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it stood before three others, and a prompt with room for two left it out."""
    lesson = replace(lesson, config=adapting(prompt_tokens=185))
    seen: list[tuple[bool, bool]] = []

    def listening(
        backend: EmbeddedBackend, prompt: Prompt, target: int, *, most: int, with_titles: bool
    ) -> None:
        laid = lettered(backend, prompt, most=most)
        title = backend.title_tokens(prompt.candidates[target])
        stands = any(laid.history[one] == title for one in laid.titles)
        seen.append((stands, with_titles))

    monkeypatch.setattr(learner, "example", listening)
    for step in (0, 19):
        for number in range(len(lesson.training)):
            lesson.example(number, 0, lesson.easing(step, 20))
    first, last = seen[: len(lesson.training)], seen[len(lesson.training) :]
    assert set(first) == {(True, False)}
    assert set(last) == {(False, True)}


def test_titles_alone_are_learned_from_questions_that_show_nothing(lesson: Lesson) -> None:
    """Regression: where the answer was shown and no letter counted, nothing was left to learn."""
    lesson = replace(lesson, config=adapting(letters_weight=0.0))
    insert(lesson.backend.model, 2, seed=0)
    for number in range(8):
        losses = lesson.losses([lesson.example(number, 0, lesson.easing(0, 20))])
        assert set(losses) == {"titles"}
        assert losses["titles"].item() > 0
        assert losses["titles"].requires_grad


def test_nothing_is_shown_to_what_judges(lesson: Lesson) -> None:
    most = lesson.config.candidates
    assert {len(one.candidates) for one in lesson.choosing} == {most}
    assert not any(one.candidates[one.target] in one.history for one in lesson.choosing)


def test_patience_begins_where_the_answers_are_no_longer_shown(lesson: Lesson) -> None:
    """A validation before that is of a model that learns something easier than it is asked."""
    lesson = replace(lesson, config=adapting(shown=0.45, patience=3, warmup=0.2))
    loop = loop_of(lesson, Plan(steps=40, evaluate_every=4))
    assert (loop.patient_from, loop.patience, loop.warmup) == (0.45, 3, 0.2)
    assert (loop.steps, loop.evaluate_every, loop.batch) == (40, 4, lesson.config.batch)


def test_validation_is_the_mrr_of_its_questions(task: AdaptTask, lesson: Lesson) -> None:
    rows = [
        short_letters(lesson.backend, lesson.texts.prompt(q), most=120) for q in lesson.choosing
    ]
    with torch.no_grad():
        assert task.validate() == mean_reciprocal_rank(rows, [q.target for q in lesson.choosing])


def test_it_knows_all_that_decides_it(task: AdaptTask, lesson: Lesson) -> None:
    adapted = task.module
    same, other = (AdaptTask(lesson, adapted, {"data": name}) for name in ("d", "e"))
    assert same.fingerprint() == task.fingerprint() != other.fingerprint()


def test_only_adapters_move_and_the_best_are_kept(
    store: Store, lesson: Lesson, llama: Path, tmp_path: Path
) -> None:
    adapted = insert(lesson.backend.model, 2, seed=0)
    first = {name: weight.detach().clone() for name, weight in trained(adapted).items()}
    said, learned = finished(
        learn(store.artifacts, lesson, adapted, Plan(4, 2), {"data": "d", "weights": "w"})
    )
    assert [point.step for point in learned.curve] == [2, 4]
    assert learned.best_step == max(learned.curve, key=lambda point: point.mrr).step
    assert all(isinstance(point, CurvePoint) and point.loss > 0 for point in learned.curve)
    assert (learned.steps, learned.seconds > 0) == (4, True)
    moved = trained(adapted)
    assert all(not torch.equal(moved[name], first[name]) for name in first)
    fixed = {n: p for n, p in lesson.backend.model.named_parameters() if "lora_" not in n}
    whole = dict(open_llama(llama).model.named_parameters())
    assert fixed
    assert all(torch.equal(p, whole[n.replace(".base_layer", "")]) for n, p in fixed.items())

    again, found = finished(
        learn(store.artifacts, lesson, adapted, Plan(4, 2), {"data": "d", "weights": "w"})
    )
    assert again == [StageSkipped("adapt", "learned before")]
    assert (found.curve, found.adapter.key) == (learned.curve, learned.adapter.key)
    assert said[-1] != again[-1]

    again, _ = finished(
        learn(
            *(store.artifacts, lesson, adapted, Plan(4, 2), {"data": "d", "weights": "w"}),
            tensorboard=tmp_path / "log",
        )
    )
    assert again == [StageSkipped("adapt", "learned before, nothing is left to be logged")]


def test_an_adapter_starts_to_know_what_it_was_taught(store: Store, lesson: Lesson) -> None:
    """A few questions, told again and again, become certain: the gradient goes the right way."""
    task = AdaptTask(lesson, insert(lesson.backend.model, 8, seed=0), {})
    place = Place(0, 1, 0, (0, 1, 2, 3))
    weights = [p for p in task.module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-2)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        parts = task.losses(place.examples, place)
        torch.stack(list(parts.values())).sum().backward()
        optimiser.step()
        losses.append(parts["letters"].item())
    assert losses[0] > 1.0
    assert losses[-1] < 0.2


@pytest.mark.parametrize(("batch", "pieces"), [(8, 4), (7, 7), (1, 1), (2, 1)])
def test_a_cpu_computes_a_step_in_small_pieces(lesson: Lesson, batch: int, pieces: int) -> None:
    some = replace(lesson, config=replace(lesson.config, batch=batch))
    assert batch % some.at_once == 0
    assert batch // some.at_once == pieces
