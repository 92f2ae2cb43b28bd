"""The whole road on a small shop: once, again, stopped and resumed, without weights, to the end."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from distill.asking import GATE_SCOPE
from distill.config import DistilConfig
from distill.language.settings import LanguageConfig
from distill.pipeline import DISTILLED, UNDISTILLED, Distilled, distil, run
from distill.training import StepDone
from recommender.api import Recommender
from recommender.comparison import compare_runs
from recommender.config import Settings
from recommender.events import Event, Notice, Progress, StageDone, StageSkipped, StageStarted
from recommender.serving import chosen_scoring
from recommender.splits import temporal_split
from storage.errors import BadData, BadSetting, Offline, UnknownName
from storage.records import NO_PART, ImportData, ItemRow, Run
from storage.store import Store
from tests.distill.conftest import configured
from tests.tiny import SHOP, Letters, add_shop, stopped
from tui.cli.progress import follow

CHANCE = 1 / 307


def settings_of(home: Path) -> Settings:
    return Settings(data_dir=home, device="cpu", precision="float32", threads=1)


def going(home: Path, config: DistilConfig) -> Iterator[Event]:
    """Open the Store anew, as a command does, and go down the road."""
    return distil(config, settings=settings_of(home), encoder=Letters())


def done(events: Sequence[Event]) -> Distilled:
    last = events[-1]
    assert isinstance(last, Distilled)
    return last


def stages(events: Sequence[Event], kind: type[StageStarted | StageSkipped]) -> list[str]:
    return [event.stage for event in events if isinstance(event, kind)]


@dataclass(frozen=True)
class Road:
    home: Path
    config: DistilConfig
    first: Sequence[Event]
    again: Sequence[Event]


@pytest.fixture(scope="module")
def road(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Road:
    """A distillation, and the same one again."""
    home = tmp_path_factory.mktemp("road")
    with Store.open(settings_of(home).db, settings_of(home).artifacts) as store:
        add_shop(store)
    config = configured(spec=str(llama))
    return Road(home, config, list(going(home, config)), list(going(home, config)))


@pytest.fixture
def kept(road: Road) -> Iterator[Store]:
    with Store.open(settings_of(road.home).db, settings_of(road.home).artifacts) as store:
        yield store


def test_every_stage_is_begun_and_ended(road: Road) -> None:
    begun = stages(road.first, StageStarted)
    assert begun == [event.stage for event in road.first if isinstance(event, StageDone)]
    order = [
        "title vectors",
        "teacher: choose",
        "teacher: gate",
        "layer Fisher",
        "teacher: train",
        f"train {UNDISTILLED}",
        f"train {DISTILLED}",
        f"evaluate {DISTILLED} on test",
        "evaluate item-knn on test",
    ]
    assert [stage for stage in begun if stage in order] == order
    for event in road.first:
        if isinstance(event, Progress) and event.total:
            assert 0 < event.done <= event.total


def test_what_came_of_it(road: Road, llama: Path) -> None:
    found = done(road.first)
    assert [name for name, _ in found.rows] == [
        DISTILLED,
        UNDISTILLED,
        "popularity",
        "item-knn",
        f"teacher {llama.name}",
    ]
    assert found.category.name == SHOP
    assert len(found.layer_weights) == 2
    assert sum(found.layer_weights) == pytest.approx(2)
    assert len(set(found.layer_weights)) == 2  # not uniform: they were measured
    said = "\n".join(found.summary)
    assert "gate: teacher MRR 0." in said
    assert "layers: Fisher over 6 requests" in said
    assert "the undistilled one: NDCG@10" in said
    assert "synthetic sample" in said
    assert Notice("made by a test") in road.first


def test_figures_are_of_the_test_part_and_can_be_made_again(road: Road, kept: Store) -> None:
    found = done(road.first)
    split = temporal_split(kept.catalogue.log(found.category.id))
    requests = split.events("test")
    for name, figures in found.rows[:-1]:
        by_name = {(one.scope, one.metric): one for one in figures}
        ndcg = by_name["test/full", "ndcg@10"]
        assert (ndcg.n, ndcg.people) == (
            len(requests),
            len(np.unique(split.log.user[requests])),
        ), name
        assert ndcg.low <= ndcg.value <= ndcg.high
        rows = kept.artifacts.load_arrays(kept.artifacts.open(ndcg.artifact), "rows.safetensors")
        np.testing.assert_array_equal(rows["rows"], requests)
        ranks = rows["ranks"]
        expected = np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).mean()
        assert ndcg.value == pytest.approx(expected)
        assert by_name["test/full", "diversity@10"].value > 0
    teacher = {(one.scope, one.metric): one for one in found.rows[-1][1]}
    assert teacher[GATE_SCOPE, "mrr"].n == 25
    for other in ("popularity", "item-knn", "text"):
        assert teacher[f"{GATE_SCOPE}/{other}", "mrr"].n == 25


def test_runs_are_registered_with_what_made_them(road: Road, kept: Store) -> None:
    found = done(road.first)
    runs = {run.name: run for run in kept.runs.list(found.category.id) if not run.final}
    best = runs[DISTILLED]
    assert best.id == found.run
    assert (best.kind, best.seed, best.status) == ("student", 0, "done")
    assert best.config["teacher"] == road.config.as_dict()["teacher"]
    assert best.config["data"] == found.category.digest
    assert best.config["synthetic"] is True
    assert best.config["requests"] == 24
    assert kept.runs.profile(str(best.config["profile"])).requests == 6
    assert best.selection is not None
    assert CHANCE < best.selection < 1
    assert kept.artifacts.open(best.artifact, verify="full").kind == "student"
    assert [runs[name].artifact for name in ("popularity", "item-knn")] == ["", ""]
    differences = compare_runs(kept, best, runs[UNDISTILLED])
    assert differences[0].metric == "ndcg@10"


def test_a_second_run_finds_everything(road: Road) -> None:
    assert [s for s in stages(road.again, StageStarted) if not s.startswith("evaluate")] == []
    assert stages(road.again, StageSkipped) == [f"train {UNDISTILLED}", f"train {DISTILLED}"]
    first, again = done(road.first), done(road.again)
    assert again.run == first.run
    assert again.rows == first.rows
    assert again.layer_weights == first.layer_weights
    assert again.summary == first.summary


def test_a_second_run_adds_no_runs(road: Road, kept: Store) -> None:
    runs = [run for run in kept.runs.list() if not run.final]
    # Of two distillations, see below: one with weights, one without.
    names = [run.name for run in runs]
    assert names.count(DISTILLED) <= 2
    assert names.count(UNDISTILLED) == names.count("popularity") == names.count("item-knn") == 1


def test_stopped_anywhere_it_ends_with_the_same_student(
    road: Road, llama: Path, tmp_path: Path
) -> None:
    with Store.open(settings_of(tmp_path).db, settings_of(tmp_path).artifacts) as store:
        add_shop(store)

    def reached(stage: str, number: int) -> Callable[[Event], bool]:
        return lambda e: isinstance(e, Progress) and (e.stage, e.done) == (stage, number)

    stops: list[Callable[[Event], bool]] = [
        reached("teacher: choose", 7),
        reached("layer Fisher", 3),
        reached("teacher: train", 11),
        lambda event: isinstance(event, StepDone) and event.step == 3,
        lambda event: event == StageStarted(f"train {DISTILLED}", 10, "steps"),
        lambda event: isinstance(event, StepDone) and event.step == 8,
        reached("evaluate popularity on test", done_of(road, "evaluate popularity on test")),
    ]
    for stop in stops:
        stopped(going(tmp_path, road.config), stop)  # type: ignore[arg-type]
    events = list(going(tmp_path, road.config))
    assert stages(events, StageSkipped) == [f"train {UNDISTILLED}", f"train {DISTILLED}"]
    with Store.open(settings_of(tmp_path).db, settings_of(tmp_path).artifacts) as store:
        stopped_runs = {run.name: run for run in store.runs.list()}
        assert not list((store.artifacts.root / "scratch").iterdir())
        paths = {n: store.artifacts.open(r.artifact).path for n, r in students(stopped_runs)}
    with Store.open(settings_of(road.home).db, settings_of(road.home).artifacts) as store:
        found = {r.name: r for r in store.runs.list() if r.id in ids_of(road, store)}
        for name, run in students(found):
            assert stopped_runs[name].artifact == run.artifact
            assert stopped_runs[name].selection == run.selection
            whole = Path(store.artifacts.open(run.artifact).path, "weights.safetensors")
            assert Path(paths[name], "weights.safetensors").read_bytes() == whole.read_bytes()
    values = [[m.value for m in figures] for _, figures in done(events).rows]
    expected = [[m.value for m in figures] for _, figures in done(road.first).rows]
    np.testing.assert_array_equal(np.concatenate(values), np.concatenate(expected))


def done_of(road: Road, stage: str) -> int:
    return max(e.done for e in road.first if isinstance(e, Progress) and e.stage == stage)


def students(runs: dict[str, Run]) -> list[tuple[str, Run]]:
    return [(name, runs[name]) for name in (DISTILLED, UNDISTILLED)]


def ids_of(road: Road, store: Store) -> set[str]:
    """The runs of the road's own configuration, whatever else a run keeps."""
    made = store.runs.get(done(road.first).run).config
    asked = set(road.config.as_dict()) - {"method"}  # a student that heard nobody has its own
    return {
        run.id
        for run in store.runs.list()
        if not run.final
        and all(run.config[name] == made[name] for name in asked if name in run.config)
    }


def test_without_weights_the_layers_are_skipped_and_the_student_learns(road: Road) -> None:
    written = io.StringIO()
    events = list(going(road.home, road.config.with_teacher(weights="none")))
    found = follow(iter(events), Distilled, stream=written)
    assert "layer Fisher: skipped, no weights\n" in written.getvalue()
    assert "layers: skipped: no weights" in found.summary
    assert found.layer_weights == ()
    assert stages(events, StageSkipped) == ["layer Fisher", f"train {UNDISTILLED}"]
    assert f"train {DISTILLED}" in stages(events, StageStarted)
    assert not any(stage.startswith("teacher") for stage in stages(events, StageStarted))
    assert found.run != done(road.first).run


def test_a_final_student_is_trained_on_everything_and_answers(road: Road) -> None:
    config = replace(road.config, final=True)
    events = list(going(road.home, config))
    assert stages(events, StageSkipped) == [f"train {UNDISTILLED}", f"train {DISTILLED}"]
    assert "final training" in stages(events, StageStarted)
    found = done(events)
    assert found.run == done(road.first).run
    with Recommender.open(SHOP, settings=settings_of(road.home), encoder=Letters()) as shop:
        final = shop.store.runs.get(f"{found.run}-final")
        measured = shop.store.runs.get(found.run)
        assert final.final
        assert final.artifact != measured.artifact
        assert shop.store.runs.measurements(final.id) == []
        ranker, notices = shop.ranker(f"student:{final.id}")
        assert notices == ()
        ranking = ranker.rank(np.array([1, 2]), n=5)
        assert len(ranking.items) == 5
        answer = shop.recommend("S003", n=5)
        assert (answer.ranker, len(answer.items)) == ("student", 5)
        assert shop.store.runs.best(shop.category.id).final  # type: ignore[union-attr]
        assert not shop.measured_student().final
    again = list(going(road.home, config))
    assert stages(again, StageSkipped)[-1] == "final training"


def test_the_teacher_answers_live_by_the_way_that_was_chosen(road: Road, kept: Store) -> None:
    found = done(road.first)
    teacher = next(run for run in kept.runs.list() if run.kind == "teacher")
    category = kept.catalogue.category(SHOP)
    scoring = chosen_scoring(kept, category, str(teacher.config["model"]))
    assert teacher.config["scoring"] == {
        "way": scoring.way,
        "temperature": scoring.temperature,
    }
    said = [e.text for e in road.first if isinstance(e, Notice) and "scoring by" in e.text]
    assert f"scoring by {scoring.way} at temperature {scoring.temperature:.2f}" in said[0]
    with Recommender(kept, category, settings_of(road.home), encoder=Letters()) as shop:
        spec = road.config.teacher.spec
        answer = shop.recommend("S003", n=3, by=f"teacher:{spec}")
        ranker, _ = shop.ranker(f"teacher:{spec}")
        assert ranker.scoring == scoring  # type: ignore[attr-defined]
    assert len(answer.items) == 3
    assert found.category == category


def test_an_unknown_category_says_how_to_get_data(tmp_path: Path) -> None:
    job = distil("Electronics", settings=settings_of(tmp_path), encoder=Letters())
    with pytest.raises(UnknownName, match=r"no category 'Electronics'.*recsys data sample"):
        next(job)


def test_a_bad_setting_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="candidates"):
        next(distil(configured(candidates=1), settings=settings_of(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("student", ["sequential", "llama"])
def test_a_board_that_cannot_be_written_is_said_before_a_teacher_is_asked(
    shop: Store, tmp_path: Path, student: str
) -> None:
    (tmp_path / "file").write_text("not a directory")
    config = DistilConfig(SHOP, language=LanguageConfig() if student == "llama" else None)
    with pytest.raises(BadSetting, match=r"'.*file' cannot be written"):
        next(run(shop, config, settings_of(tmp_path), tensorboard=tmp_path / "file"))


def test_models_that_are_not_there_say_how_to_fetch_them(shop: Store, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with pytest.raises(Offline, match=r"encoder 'minilm'.*recsys models fetch"):
        list(run(shop, configured(), settings))
    with pytest.raises(Offline, match=r"teacher 'embedded'.*recsys models fetch"):
        list(run(shop, configured(), settings, encoder=Letters()))


def test_a_category_of_one_person_is_an_error(store: Store, llama: Path, tmp_path: Path) -> None:
    add_shop(store, people=1)
    config = configured(spec=str(llama))
    with pytest.raises(BadData, match="has requests of too few people"):
        list(run(store, config, settings_of(tmp_path), encoder=Letters()))


def test_too_short_a_log_is_an_error_with_its_sizes(store: Store, tmp_path: Path) -> None:
    two = np.arange(2)
    data = ImportData(
        user_ids=["ann"],
        items=[ItemRow("p1", "Pen"), ItemRow("p2", "Pencil")],
        user=0 * two,
        item=two,
        time=two,
        rating=two.astype(np.float32),
        part=np.full(2, NO_PART, dtype=np.int8),
    )
    store.catalogue.write(
        SHOP,
        data,
        source="table",
        synthetic=False,
        rating_low=None,
        rating_high=None,
        note="",
        digest="1",
    )
    config = replace(configured(), split="leave-last-out")
    with pytest.raises(BadData, match=r"too small to be split .*: train has 1 requests, valid"):
        list(run(store, config, settings_of(tmp_path), encoder=Letters()))
