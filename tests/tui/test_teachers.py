"""The teachers: servers that are up, down or gone in between, models, labels that are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from distill.jobs.jobs import Jobs
from recommender.backends.embedded import EmbeddedBackend
from recommender.config import Settings
from storage.errors import StoreUnavailable
from storage.label_records import LabelStatistics
from storage.records import LabelRequest, NoiseFloor, SoftLabel
from storage.store import Store
from tests.cli.shop import NAME
from tests.ollama.faults import Fault
from tests.ollama.serving import Serving
from tests.tui.begun import app_at, play, text_of, until
from tests.tui.served import (
    DOWN,
    Serve,
    highlight,
    hosts_said,
    lines,
    models,
    notices,
    teachers,
    with_servers,
)
from tui.screens.teachers import NO_DATA, NO_LABELS
from tui.widgets.label_counts import HEADS as COUNTED
from tui.widgets.label_counts import LabelCounts
from tui.widgets.model_table import HEADS

HOSTILE = "\x1b[31m[bold]evil[/bold]\u202e" + "x" * 10_000


def test_servers_and_models(serve: Serve, folder: Settings) -> None:
    one = serve(name="tiny:latest")
    two = serve(name="all-minilm:latest", version="0.24.0", capabilities=("embedding",))

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await until(pilot, lambda: len(models(screen)) == 4, "all models")
        await until(pilot, lambda: DOWN in hosts_said(screen), "the server that is down")
        said = hosts_said(screen)
        assert f"● {one.url}: Ollama 0.32.15, 1 model, 0 in memory" in said
        assert f"● {two.url}: Ollama 0.24.0, 1 model" in said
        assert f"✗ http://{DOWN}: no Ollama server answers" in said
        assert "ollama serve" in said
        assert models(screen) == ["tiny:latest", "all-minilm:latest", "embedded", "minilm"]
        first, second, third, _ = screen.table.models
        assert (first.abilities, second.abilities) == (("letters", "json"), ("embeddings",))
        assert (first.state, third.state) == ("○ pulled", "✗ missing")
        assert first.size > 0
        # The highlight was on top before the servers had answered.
        assert screen.table.current == first
        shown = text_of(pilot.app)
        assert "letters, json" in shown
        assert "noise floor not measured" in shown
        assert "missing" in shown

        one.loaded = (1024,)
        await pilot.press("r")
        await until(pilot, lambda: screen.table.models[0].state == "● loaded, 1,024", "loaded")

    play(app_at("teachers", with_servers(folder, one.url, two.url, DOWN)), flow)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_at_every_size(serve: Serve, folder: Settings, size: tuple[int, int]) -> None:
    server = serve(name="tiny:latest")

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await until(pilot, lambda: len(models(screen)) == 3, "all models")
        await pilot.pause(0.2)
        shown = text_of(pilot.app)
        for word in ("tiny:latest", "○ pulled", "letters, json", "labels of Tiny shop", "l Label"):
            assert word in shown
        pilot.app.theme = "textual-light"
        await pilot.pause()
        assert "tiny:latest" in text_of(pilot.app)

    play(app_at("teachers", with_servers(folder, server.url)), flow, size)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_head_is_cut_and_what_is_left_out_is_said(
    serve: Serve, folder: Settings, width: int
) -> None:
    server = serve(name="tiny:latest")
    counted = [
        LabelStatistics("m@1/q4", "letters", one, "ok", 1000, 1000, 0.25, 1.25, 0)
        for one in ("train", "validation", "test", "gate")
    ]

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await until(pilot, lambda: len(models(screen)) == 3, "all models")
        counts = screen.query_one(LabelCounts)
        await until(pilot, lambda: counts.said == NO_LABELS, "the true counts")
        await pilot.pause(0.3)
        counts.show("labels of a shop", counted)
        await until(pilot, lambda: "labels of a shop" in text_of(pilot.app), "the counts")
        await pilot.pause(0.2)
        shown = text_of(pilot.app)
        for table in screen.query(DataTable):
            columns = table.ordered_columns
            assert sum(column.get_render_width(table) for column in columns) < width
            for column in columns:
                assert str(column.label) in shown
        left = len(HEADS) - len(screen.table.ordered_columns)
        assert len(screen.table.hidden) == left
        assert ("more column" in shown) == bool(left)
        counted_in = len(counts.query_one(DataTable).ordered_columns)
        said = "recsys labels stats" in " ".join(shown.split())
        assert said == (counted_in < len(COUNTED)) == (width < 100)

    play(app_at("teachers", with_servers(folder, server.url)), flow, (width, 40))


def test_a_server_that_goes_down_and_comes_back(serve: Serve, folder: Settings) -> None:
    server = serve(name="tiny:latest")

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await until(pilot, lambda: len(models(screen)) == 3, "all models")
        server.fault = Fault.HTML_PROXY
        await pilot.press("r")
        await until(pilot, lambda: "something else than Ollama" in hosts_said(screen), "no server")
        assert models(screen) == ["embedded", "minilm"]
        server.fault = None
        await pilot.press("r")
        await until(pilot, lambda: "1 model" in hosts_said(screen), "it is back")

    play(app_at("teachers", with_servers(folder, server.url)), flow)


def test_a_server_that_ends(speller: EmbeddedBackend, folder: Settings) -> None:
    with Serving(speller, name="tiny:latest") as server:

        async def flow(pilot: Pilot[None]) -> None:
            screen = teachers(pilot)
            await until(pilot, lambda: len(models(screen)) == 3, "all models")
            server.__exit__(None, None, None)
            await pilot.press("r")
            await until(pilot, lambda: "no Ollama server" in hosts_said(screen), "it is down")
            assert "ollama serve" in hosts_said(screen)
            assert models(screen) == ["embedded", "minilm"]
            await pilot.press("l")  # the highlight fell to what is missing here
            await until(pilot, lambda: "f fetches it" in notices(pilot), "said")

        play(app_at("teachers", with_servers(folder, server.url)), flow)


def test_looks_again_by_itself(
    serve: Serve, folder: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.screens.teachers.EVERY", 0.3)
    server = serve(name="tiny:latest")

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await until(pilot, lambda: len(models(screen)) == 3, "all models")
        server.add("later:1b")
        await until(pilot, lambda: "later:1b" in models(screen), "what came later")
        asked = [one.path for one in server.seen]
        assert asked.count("/api/show") == 2  # each model once, however often one looks
        # Nobody is asked while another screen is in front.
        await pilot.app.switch_mode("layers")
        await pilot.pause(0.5)
        before = len(server.seen)
        await pilot.pause(1.0)
        assert len(server.seen) == before

    play(app_at("teachers", with_servers(folder, server.url)), flow)


def test_labels_and_noise_that_are_there(serve: Serve, folder: Settings) -> None:
    server = serve(name="tiny:latest")

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        row = await highlight(pilot, screen, "tiny:latest")
        with Store.open(folder.db, folder.artifacts) as store:
            keep_labels(store, row.key)
            floor = NoiseFloor(row.key, "ollama 0.32", "", "2026-11-23T10:00:00", 0.25, 0.01, 2, 40)
            store.noise.add(floor)
        await pilot.press("r")
        counts = screen.query_one(LabelCounts)
        await until(pilot, lambda: len(counts.rows) == 2, "labels are counted")
        asked, hostile = sorted(counts.rows, key=lambda one: one[3] == "not asked yet")
        assert asked[3:6] == ("ok", "1", "1")
        assert hostile[5] == "0"
        await until(pilot, lambda: "0.250 nats" in text_of(pilot.app), "the noise floor")
        assert "2 flips of 40" in text_of(pilot.app)
        assert "[bold]evil[/bold]" in text_of(pilot.app)

    play(app_at("teachers", with_servers(folder, server.url)), flow, (160, 40))


def keep_labels(store: Store, teacher: str) -> None:
    category = store.catalogue.category(NAME).id
    store.labels.add_requests(
        [
            LabelRequest("k1", category, "gate", 0, 4, (1,), (2, 3), 0, teacher, "letters"),
            LabelRequest("k2", category, "gate", 1, 9, (1,), (2, 3), 0, HOSTILE, "letters"),
        ]
    )
    store.labels.add(SoftLabel("k1", (-0.1, -2.0), (1, 1), "ok", 0.2))


def test_what_is_missing(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "empty", hosts=(DOWN,))

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await until(pilot, lambda: models(screen) == ["embedded", "minilm"], "what comes along")
        await until(pilot, lambda: screen.query_one(LabelCounts).said == NO_DATA, "no data")
        await pilot.press("l")
        await until(pilot, lambda: NO_DATA in notices(pilot), "said")
        # Nothing can be fetched here: the job says so, and the screen stays.
        await pilot.press("enter")
        await until(pilot, lambda: lines(screen), "the job's line")
        assert lines(screen)[0].job.spec.kind == "fetch"

    play(app_at("teachers", settings), flow)
    jobs = Jobs(settings.data_dir / "jobs")
    for job in jobs.list():
        jobs.stop(job.id)


def test_a_store_that_fails_is_said(serve: Serve, folder: Settings) -> None:
    server = serve(name="tiny:latest")

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await until(pilot, lambda: len(models(screen)) == 3, "all models")

        async def locked(_question: object) -> None:
            raise StoreUnavailable("the database is locked", next_step="close the other")

        screen.recsys.store.ask = locked  # type: ignore[method-assign, assignment]
        await pilot.press("r")
        counts = screen.query_one(LabelCounts)
        await until(pilot, lambda: "the database is locked" in counts.said, "said")
        assert len(models(screen)) == 3

    play(app_at("teachers", with_servers(folder, server.url)), flow)


def test_registered_models_that_cannot_be_read(folder: Settings) -> None:
    (folder.models / "registered.json").write_text("[")

    async def flow(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "cannot read the registered models" in notices(pilot), "said")

    play(app_at("teachers", with_servers(folder, DOWN)), flow)


def test_nothing_heavy_is_loaded_before_it_is_asked() -> None:
    script = (
        "import sys, tui.app, tui.screens.teachers\n"
        "heavy = {'torch', 'scipy', 'transformers', 'httpx', 'ollama', 'onnxruntime'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from recommender.backends.ollama.survey import Survey\n"
        "from recommender.people import protocol_of\n"
        "from recommender.asking.label_statistics import without_opinion\n"
        "heavy -= {'httpx', 'ollama'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
