"""What adapting the embedded teacher takes: time of a step and of a question, memory. `make bench`.

Times are of an otherwise idle machine; on a busy one they mean little. Memory does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.bench, pytest.mark.models]

ROOT = Path(__file__).parents[2]
MOST = 2.5e9
"""Bytes: a laptop has them beside whatever else it does."""

MEASURED = """
import json, sys, time
from dataclasses import asdict
from pathlib import Path

import torch

from distill.adapting.adapters import insert, trained
from distill.adapting.config import AdaptConfig
from distill.adapting.learner import Lesson
from distill.adapting.learning import AdaptTask, loop_of
from distill.adapting.planning import Plan, planned
from distill.adapting.questions import TrainingQuestions, choosing_questions
from distill.adapting.rates import measure_rates
from distill.ground import prepare, sampler
from distill.language.loop import fit
from distill.memory import peak_bytes
from recommender.backends.embedded import EmbeddedBackend
from recommender.models import resolve_model
from storage.store import Store
from tests.tiny import SHOP, Letters, add_shop, finished

config = AdaptConfig(SHOP, device="cpu")
folder = Path(sys.argv[1])
with Store.open(folder / "recsys.sqlite", folder / "artifacts") as store:
    add_shop(store)
    _, ground = finished(prepare(store, config.asking(), Letters()))
    spec = resolve_model(Path(sys.argv[2]), "embedded")
    backend = EmbeddedBackend.open(spec, artifacts=store.artifacts, device="cpu")
    opened = peak_bytes()
    draw = sampler(ground, config.asking())
    training = TrainingQuestions.of(ground.split, draw, seed=0)
    choosing = choosing_questions(ground.split, draw, seed=0, most=4)
    lesson = Lesson(backend, ground.texts, training, choosing, config)
    adapted = insert(backend.model, config.rank, seed=0)
    rates = measure_rates(lesson)
    *_, fitted = fit(AdaptTask(lesson, adapted, {}), loop_of(lesson, Plan(2, 1)))
    print(json.dumps({
        **asdict(rates),
        "precision": backend.describe().precision,
        "adapters": sum(weight.numel() for weight in trained(adapted).values()),
        "losses": [loss for _, _, loss in fitted.history],
        "steps": planned(config, rates, 100_000).steps,
        "opened": opened,
        "peak": peak_bytes(),
        "threads": torch.get_num_threads(),
    }))
"""


def test_a_step_of_the_embedded_teacher_fits_a_laptop(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), str(models)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    both = found["letters"] + found["likelihood"]
    with capsys.disabled():
        print(
            f"\nembedded teacher in {found['precision']}, {found['threads']} threads, "
            f"{found['adapters']:,} weights of adapters: a step of 8 questions of at most 220 "
            f"tokens {found['step']:.2f} s, a short question {found['short']:.2f} s, one asked "
            f"both ways {both:.2f} s; {found['steps']} steps fit into 60 minutes; "
            f"peak {found['peak'] / 1e6:.0f} MB, {found['opened'] / 1e6:.0f} MB when opened"
        )
    assert all(0 < loss < 10 for loss in found["losses"])
    assert found["peak"] < MOST
