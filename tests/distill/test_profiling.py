"""`recsys importance`, the job: what is asked, kept, resumed and stored."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.ground import Ground, prepare
from distill.importance.layers import layer_importance
from distill.importance.measures import MEASURES
from distill.importance.measuring import Asked, key_of, measure_steps, request_key
from distill.importance.requests import FisherRequest, PackedRequest, lay_out
from distill.profiling import (
    ImportanceConfig,
    LayersMeasured,
    groups_of,
    known_questions,
    profile_layers,
)
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.packed import pack
from recommender.config import resolve
from recommender.events import Notice, Progress, StageStarted
from storage.errors import BadData, BadSetting
from storage.store import Store
from tests.distill.conftest import configured
from tests.tiny import LAYERS, Letters, add_shop, finished, open_llama, save_llama

CHEAP = ("fisher-empirical", "loo-loss")


def profiled(shop: Store, llama: Path, wanted: ImportanceConfig, **teacher: object):
    config = configured(spec=str(llama), **teacher)
    steps = profile_layers(shop, config, wanted, resolve().settings, encoder=Letters())
    said = list(steps)
    assert isinstance(said[-1], LayersMeasured)
    return said, said[-1]


def test_what_comes_of_it(shop: Store, llama: Path) -> None:
    wanted = ImportanceConfig(CHEAP, requests=12, removal_requests=5, null=True, null_requests=6)
    said, done = profiled(shop, llama, wanted)
    assert {name: one.values.shape for name, one in done.found.items()} == {
        "fisher-empirical": (12, LAYERS),
        "loo-loss": (5, LAYERS),
    }
    assert done.null["fisher-empirical"].values.shape == (6, LAYERS)
    assert set(done.null) == {"fisher-empirical"}
    stored = shop.runs.profiles(done.category.id)
    assert {p.criterion for p in stored} == {"fisher-empirical-listwise", "loo-loss-listwise"}
    assert sum("random-init" in p.weights for p in stored) == 1
    mine = [p for p in stored if p.weights == done.card.key and "fisher" in p.criterion]
    np.testing.assert_allclose(mine[0].layers, done.found["fisher-empirical"].profile.mean)
    assert mine[0].requests == 12
    costs = [e.text for e in said if isinstance(e, Notice) and "passes of" in e.text]
    assert any(text.startswith("removal: 5 requests × ") for text in costs)
    started = [n for n, e in enumerate(said) if isinstance(e, StageStarted)]
    first_cost = next(n for n, e in enumerate(said) if isinstance(e, Notice) and "passes" in e.text)
    assert said.index(next(e for e in said if e == said[first_cost])) < max(started)
    assert all(len(group) == 12 for group in done.groups.values())


def test_the_same_again_measures_nothing(shop: Store, llama: Path) -> None:
    wanted = ImportanceConfig((*CHEAP, "greedy", "probe-information"), requests=20)
    _, first = profiled(shop, llama, wanted)
    said, again = profiled(shop, llama, wanted)
    stages = {e.stage for e in said if isinstance(e, StageStarted)}
    assert not stages & {"one-pass", "removal", "greedy", "probe"}
    for name, one in first.found.items():
        np.testing.assert_array_equal(one.values, again.found[name].values, err_msg=name)
    assert [p.key for p in first.profiles] == [p.key for p in again.profiles]


def test_more_requests_begin_where_fewer_ended(shop: Store, llama: Path) -> None:
    profiled(shop, llama, ImportanceConfig(("loo-loss",), requests=6))
    said, done = profiled(shop, llama, ImportanceConfig(("loo-loss",), requests=9))
    assert [e.total for e in said if isinstance(e, StageStarted) and e.stage == "removal"] == [3]
    assert done.found["loo-loss"].values.shape == (9, LAYERS)


def laid(model: EmbeddedBackend, ground: Ground, count: int) -> Asked:
    questions = known_questions(ground, configured(), count)
    made = []
    for question in questions:
        prompt = ground.texts.prompt(question)
        made.append(
            lay_out(model, FisherRequest(prompt, prompt.candidates, question.target), "listwise")
        )
    return Asked(model.model, model.describe().key, made, "listwise", 5.0)


@pytest.mark.parametrize(("name", "until"), [("removal", 3), ("one-pass", 4), ("greedy", 1)])
def test_a_stopped_measure_goes_on(
    shop: Store, model: EmbeddedBackend, ground: Ground, name: str, until: int
) -> None:
    asked = laid(model, ground, 8)
    stage_done = [
        e.done for e in measure_until(shop, asked, name, until) if isinstance(e, Progress)
    ]
    assert stage_done[-1] >= until
    said, found = finished(measure_steps(shop, asked, name))
    [started] = [e for e in said if isinstance(e, StageStarted)]
    whole = 8 if name != "greedy" else LAYERS - 1
    assert started.total == whole - stage_done[-1]
    with Store.open(str(shop.artifacts.root) + "-other.sqlite", shop.artifacts.root) as fresh:
        _, uninterrupted = finished(measure_steps(fresh, asked, name))
    for one, other in zip(found, uninterrupted, strict=True):
        assert set(one) == set(other)
        for field in one:
            np.testing.assert_array_equal(one[field], other[field])


def measure_until(shop: Store, asked: Asked, name: str, until: int) -> list[object]:
    said: list[object] = []
    job = measure_steps(shop, asked, name)
    for event in job:
        said.append(event)
        if isinstance(event, Progress) and event.done >= until:
            job.close()
            return said
    raise AssertionError("it ended before it was stopped")


def test_layers_run_twice_give_the_same(
    shop: Store, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ImportanceConfig(requests=5)
    _, plain = profiled(shop, llama, wanted)
    monkeypatch.setattr("distill.importance.planning.memory_of", lambda _device: 1000)
    with Store.open(str(shop.artifacts.root) + "-small.sqlite", shop.artifacts.root) as small:
        add_shop(small)
        said, spared = profiled(small, llama, wanted)
    assert any("each layer is run twice" in e.text for e in said if isinstance(e, Notice))
    for name, one in plain.found.items():
        np.testing.assert_allclose(spared.found[name].values, one.values, rtol=1e-4, atol=1e-9)


KILLED = """
import sys
from pathlib import Path
from distill.profiling import ImportanceConfig, profile_layers
from recommender.config import resolve
from recommender.events import Progress
from storage.store import Store
from tests.distill.conftest import configured
from tests.tiny import Letters

with Store.open(sys.argv[1], Path(sys.argv[2])) as store:
    wanted = ImportanceConfig(("loo-loss",), requests=400, removal_requests=400)
    steps = profile_layers(
        store, configured(spec=sys.argv[3]), wanted, resolve().settings, encoder=Letters()
    )
    for event in steps:
        if isinstance(event, Progress) and event.stage == "removal":
            print(event.done, flush=True)
"""


def test_a_killed_process_goes_on_behind_its_last_request(
    shop: Store, llama: Path, tmp_path: Path
) -> None:
    file, artifacts = str(tmp_path / "kill.sqlite"), str(tmp_path / "kept")
    with Store.open(file, Path(artifacts)) as store:
        add_shop(store)
    command = [sys.executable, "-c", KILLED, file, artifacts, str(llama)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 7:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    with Store.open(file, Path(artifacts)) as store:
        kept = store.layers.count("removal")
        assert kept >= 7
        wanted = ImportanceConfig(("loo-loss",), requests=kept + 2, removal_requests=400)
        said, done = profiled(store, llama, wanted)
        [total] = [e.total for e in said if isinstance(e, StageStarted) and e.stage == "removal"]
        assert total == 2
        assert done.found["loo-loss"].values.shape == (kept + 2, LAYERS)


def test_a_key_knows_all_that_decides_the_value() -> None:
    request = PackedRequest((pack([1, 2, 3], [[4, 5], [6]]),), 1)
    asked = Asked(None, "smol/float32", [request], "listwise", 5.0, seed=1)
    one_pass, drawn = MEASURES["one-pass"], MEASURES["fisher-true-sampled"]
    key = key_of(asked, one_pass, request)
    assert key == key_of(replace(asked, seed=2), one_pass, request)
    assert key_of(asked, drawn, request) != key_of(replace(asked, seed=2), drawn, request)
    others = [
        key_of(replace(asked, weights="smol/bfloat16"), one_pass, request),
        key_of(replace(asked, loss="letters"), one_pass, request),
        key_of(replace(asked, temperature=5.1), one_pass, request),
        key_of(asked, MEASURES["taylor"], request),
        key_of(asked, one_pass, replace(request, target=0)),
        key_of(asked, one_pass, replace(request, owners=(0, 1))),
        key_of(asked, one_pass, PackedRequest((pack([1, 2, 3], [[4, 5], [7]]),), 1)),
        key_of(asked, one_pass, PackedRequest((pack([1, 9, 3], [[4, 5], [6]]),), 1)),
    ]
    assert len({key, *others}) == len(others) + 1
    # The same tokens cut otherwise into prefix and candidates are another request.
    same_ids = PackedRequest((pack([1, 2, 3, 4], [[5], [6]]),), 1)
    assert request_key(same_ids) != request_key(request)


def test_questions_are_of_different_people_first(ground: Ground) -> None:
    questions = known_questions(ground, configured(), 1000)
    people = [q.user for q in questions]
    distinct = len(set(people))
    assert len(set(people[:distinct])) == distinct
    assert len(questions) > distinct > 50
    assert all(q.target >= 0 and len(q.candidates) == 6 for q in questions)
    valid = set(ground.split.events("valid")) | set(ground.split.events("test"))
    assert not {q.event for q in questions} & valid
    assert known_questions(ground, configured(), 10) == questions[:10]


def test_thirds_of_people_and_histories(ground: Ground) -> None:
    questions = known_questions(ground, configured(), 60)
    groups = groups_of(ground, questions)
    lengths = {name: [] for name in ("short", "middle", "long")}
    for name, question in zip(groups["history"], questions, strict=True):
        lengths[name].append(len(question.history))
    assert max(lengths["short"]) <= min(lengths["middle"])
    assert max(lengths["middle"]) <= min(lengths["long"])
    assert set(groups["people"]) == {"light", "middle", "heavy"}


def test_letters_and_next_token_are_losses_of_their_own(
    shop: Store, llama: Path, spelling: EmbeddedBackend
) -> None:
    prompt = Prompt(("Pen", "Ink"), ("Paper", "Clip", "Glue"), noun="things")
    request = FisherRequest(prompt, prompt.candidates, 2)
    letters = lay_out(spelling, request, "letters")
    # 'A' and ' A' are both read where the tokenizer has both, as the teacher's answers are.
    assert letters.choices == 3
    assert letters.target == 2
    score = spelling.score(prompt, "ABC")
    measured = layer_importance(spelling.model, [letters], ["fisher-empirical"], loss="letters")
    kept = measured["fisher-empirical"].arrays[0]["scores"]
    np.testing.assert_allclose(kept, score.logprobs, atol=1e-4)
    text = lay_out(spelling, request, "next-token")
    prefix, _ = spelling.prefix_tokens(prompt)
    assert text.tokens == len(prefix) + len(spelling.title_tokens("Glue")) - 1
    assert text.choices == 1
    with pytest.raises(BadSetting, match="unknown loss 'hinge'"):
        lay_out(spelling, request, "hinge")  # type: ignore[arg-type]
    _, done = profiled(shop, llama, ImportanceConfig(("gate-fisher",), "next-token", requests=4))
    assert {p.criterion for p in done.profiles} == {"gate-fisher-next-token"}
    assert done.temperature == 1.0


def test_a_model_without_weights_is_refused(shop: Store, llama: Path) -> None:
    with pytest.raises(BadSetting, match=r"no weights that could be measured.*--weights MODEL"):
        profiled(shop, llama, ImportanceConfig(), weights="none")


def test_too_few_items_for_the_candidates(shop: Store, llama: Path) -> None:
    config = configured(spec=str(llama), candidates=400)
    ground = finished(prepare(shop, config, Letters()))[1]
    with pytest.raises(BadData, match="--candidates 5"):
        known_questions(ground, config, 5)


def test_weights_by_name_are_measured_themselves(shop: Store, llama: Path) -> None:
    steps = profile_layers(
        shop,
        configured(spec=str(llama), weights=str(llama)),
        ImportanceConfig(requests=3),
        resolve().settings,
        encoder=Letters(),
    )
    done = list(steps)[-1]
    assert isinstance(done, LayersMeasured)
    assert done.card.key == open_llama(llama).describe().key


def test_more_candidates_than_letters_are_refused_at_once(shop: Store, llama: Path) -> None:
    with pytest.raises(BadSetting, match=r"27 candidates cannot be lettered.*--candidates 26"):
        profiled(shop, llama, ImportanceConfig((), "letters", requests=3), candidates=27)


def test_positions_beyond_the_models_own_are_said(shop: Store, tmp_path: Path) -> None:
    short = save_llama(tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 16}))
    said, _ = profiled(shop, short, ImportanceConfig(requests=3))
    assert any("the model was made for 16" in e.text for e in said if isinstance(e, Notice))
    said, _ = profiled(shop, save_llama(tmp_path / "long"), ImportanceConfig(requests=3))
    assert not any("was made for" in e.text for e in said if isinstance(e, Notice))
