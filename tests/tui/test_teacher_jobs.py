"""Pulling and labelling from the teachers' screen: real jobs in processes of their own."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, Static

from distill.config import DistilConfig
from distill.jobs.folder import END
from distill.jobs.jobs import Jobs
from recommender.config import Settings
from recommender.protocol import Protocol
from tests.ollama.faults import Fault
from tests.tui.begun import app_at, play, text_of, until
from tests.tui.served import (
    DOWN,
    Serve,
    highlight,
    lines,
    models,
    notices,
    teachers,
    with_servers,
)
from tui.cli.distill import configured, with_protocol
from tui.screens.labelling import AskLabels
from tui.screens.pulling import PullModel
from tui.teacher_data import LabelsAsked, ModelRow, label_job, models_here, with_hosts
from tui.widgets.label_counts import LabelCounts


def test_a_pull_with_progress(serve: Serve, folder: Settings) -> None:
    server = serve(name="tiny:latest")
    server.pull_seconds = 0.15

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await until(pilot, lambda: len(models(screen)) == 3, "all models")
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, PullModel), "the form")
        await pilot.press("enter")
        why = pilot.app.screen.query_one("#why-not", Static)
        assert "is no name of a model" in str(why.content)
        pilot.app.screen.query_one("#name", Input).value = "new:1b"
        await pilot.press("enter")
        await until(pilot, lambda: lines(screen), "the job's line")
        seen = set()

        def arrived() -> bool:
            seen.add(lines(screen)[0].said.splitlines()[1].strip())
            return lines(screen)[0].job.state == "done"

        await until(pilot, arrived, "the pull to end")
        assert any("%" in one for one in seen), seen
        await until(pilot, lambda: "new:1b" in models(screen), "the new model")
        assert lines(screen)[0].said.startswith("✓ done  pull new:1b")
        await pilot.click("WorkLine .forget")
        await until(pilot, lambda: not lines(screen), "the line is gone")

    play(app_at("teachers", with_servers(folder, server.url)), flow)


@pytest.mark.parametrize(
    ("name", "says"),
    [("missing:1b", "no registry that"), ("unreachable:1b", "cannot reach the registry")],
)
def test_a_pull_that_fails(serve: Serve, folder: Settings, name: str, says: str) -> None:
    server = serve(name="tiny:latest")

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, PullModel), "the form")
        pilot.app.screen.query_one("#name", Input).value = name
        await pilot.click("PullModel Button")
        await until(pilot, lambda: lines(screen) and not lines(screen)[0].job.going, "an end")
        assert lines(screen)[0].job.state == "failed"
        assert says in lines(screen)[0].said
        assert says in text_of(pilot.app)
        step = lines(screen)[0].job.next_step
        assert "--teacher" not in step, "another teacher is not what was asked for"
        assert ("ollama.com/library" in step) == (name == "missing:1b")
        assert f"recsys models pull {name} --host {server.url}" in step or name == "missing:1b"
        end = lines(screen)[0].job.folder / END
        first = end.stat().st_mtime_ns
        await pilot.click("WorkLine .resume")

        def again() -> bool:
            """Another process ended; on a busy machine, before anybody saw it go."""
            anew = end.exists() and end.stat().st_mtime_ns != first
            return anew and not lines(screen)[0].job.going

        await until(pilot, again, "an end again")

    play(app_at("teachers", with_servers(folder, server.url)), flow)


@pytest.mark.parametrize("typed", ["¡", "two words", "a:b:c", "-x", "a/b/c/d", "x" * 81, ""])
def test_what_is_no_name_of_a_model_makes_no_job(folder: Settings, typed: str) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, PullModel), "the form")
        pilot.app.screen.query_one("#name", Input).value = typed
        await pilot.press("enter")
        await until(pilot, lambda: "no name of a model: " in text_of(pilot.app), "why not")
        assert isinstance(pilot.app.screen, PullModel)
        assert not Jobs(folder.data_dir / "jobs").list()

    play(app_at("teachers", with_servers(folder, DOWN)), flow)


def test_a_pull_is_stopped_and_found_again(serve: Serve, folder: Settings) -> None:
    server = serve(name="tiny:latest")
    server.pull_seconds = 0.5
    settings = with_servers(folder, server.url)

    async def begin(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await pilot.press("x")
        assert "nothing runs here" in notices(pilot)
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, PullModel), "the form")
        pilot.app.screen.query_one("#name", Input).value = "slow:1b"
        await pilot.press("enter")
        await until(pilot, lambda: lines(screen) and "%" in lines(screen)[0].said, "progress")

    async def find(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await until(pilot, lambda: lines(screen), "the job of before")
        assert "%" in lines(screen)[0].said  # what it said before is heard again
        await pilot.press("x")
        await until(pilot, lambda: lines(screen)[0].job.state == "stopped", "it stopped")
        assert "can go on" in lines(screen)[0].said
        shown = [one.name for one in lines(screen)[0].query(Button) if one.display]
        assert shown == ["resume", "forget"]
        assert "slow:1b" not in server.pulled
        server.pull_seconds = 0.0
        await pilot.click("WorkLine .resume")
        await until(pilot, lambda: lines(screen)[0].job.state == "done", "it is done")

    play(app_at("teachers", settings), begin)
    play(app_at("teachers", settings), find)


def test_labelling_counts_labels(serve: Serve, folder: Settings) -> None:
    server = serve(name="tiny:latest", answer_seconds=0.02)
    other = serve(name="another:latest")

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        counts = screen.query_one(LabelCounts)
        row = await highlight(pilot, screen, "tiny:latest")
        await until(pilot, lambda: "no label yet" in counts.said, "no labels")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLabels), "the form")
        form = pilot.app.screen
        assert "label Tiny shop by tiny:latest (split temporal)" in text_of(pilot.app)
        form.query_one("#requests", Input).value = "many"
        await pilot.click("AskLabels Button")
        assert "no number of questions" in str(form.query_one("#why-not", Static).content)
        await pilot.pause(0.3)
        form.query_one("#requests", Input).value = "8"
        form.query_one("#candidates", Input).value = "5"
        await pilot.click("AskLabels Button")
        await until(pilot, lambda: lines(screen), "the job's line")
        # The same again is not begun twice.
        await pilot.press("l")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLabels), "the form")
        pilot.app.screen.query_one("#requests", Input).value = "8"
        pilot.app.screen.query_one("#candidates", Input).value = "5"
        await pilot.press("enter")
        await until(pilot, lambda: "runs already" in notices(pilot), "said")
        await until(pilot, lambda: not lines(screen)[0].job.going, "the end of it")
        assert lines(screen)[0].job.state == "done", lines(screen)[0].said
        await until(pilot, lambda: counts.rows, "labels are counted")
        assert {row[1] for row in counts.rows} == {"letters"}
        assert {"choose", "gate", "train"} == {row[2] for row in counts.rows}
        assert all(one[0] == row.key for one in counts.rows)
        assert "of 8 questions" in lines(screen)[0].said
        # Only the server that holds the model was asked.
        assert not any(one.path == "/api/generate" for one in other.seen)

    play(app_at("teachers", with_servers(folder, server.url, other.url)), flow)


def test_labelling_is_stopped_and_goes_on(serve: Serve, folder: Settings) -> None:
    server = serve(name="tiny:latest", answer_seconds=0.15)

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await highlight(pilot, screen, "tiny:latest")
        await pilot.press("l")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLabels), "the form")
        pilot.app.screen.query_one("#requests", Input).value = "8"
        await pilot.press("enter")
        await until(pilot, lambda: lines(screen) and "%" in lines(screen)[0].said, "progress")
        await pilot.click("WorkLine .stop")
        await until(pilot, lambda: not lines(screen)[0].job.going, "it stopped")
        assert lines(screen)[0].job.state == "stopped"
        counts = screen.query_one(LabelCounts)
        await until(pilot, lambda: counts.rows, "what was answered is kept")

    play(app_at("teachers", with_servers(folder, server.url)), flow)


def test_the_server_of_a_labelling_goes_down(serve: Serve, folder: Settings) -> None:
    server = serve(name="tiny:latest")

    async def flow(pilot: Pilot[None]) -> None:
        screen = teachers(pilot)
        await highlight(pilot, screen, "tiny:latest")
        server.fault = Fault.HTML_PROXY
        await pilot.press("l")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLabels), "the form")
        await pilot.press("enter")
        await until(pilot, lambda: lines(screen) and not lines(screen)[0].job.going, "an end")
        assert lines(screen)[0].job.state == "failed"
        assert "something else than Ollama" in lines(screen)[0].said
        assert models(screen)[-2:] == ["embedded", "minilm"]  # the rest of the screen stays

    play(app_at("teachers", with_servers(folder, server.url)), flow)


def test_a_labelling_is_what_the_command_would_do(folder: Settings) -> None:
    settings = folder.model_copy(update={"hosts": ("a", "b"), "teacher": "ollama:m:1b", "seed": 3})
    row = ModelRow("m:1b", "a:11434", "ollama:m:1b", "", "", host="a", key="m")
    protocol = Protocol(split="leave-last-out", min_rating=4.0)
    spec = label_job("Tiny shop", row, LabelsAsked(40, 6), protocol, settings)
    command = settings.model_copy(update={"candidates": 6})
    wanted = configured("Tiny shop", command, minutes=0, requests=40, epochs=None)
    wanted = with_protocol(wanted, split="leave-last-out", min_rating=4.0, max_users=0, final=False)
    assert asdict(DistilConfig.from_dict(dict(spec.arguments))) == asdict(wanted)
    # Another teacher than that of the settings is asked by what it can.
    other = label_job("Tiny shop", models_here(settings)[0], LabelsAsked(1, 2), protocol, settings)
    assert DistilConfig.from_dict(dict(other.arguments)).teacher.mode == "auto"


def test_only_servers_with_the_same_build_share_a_labelling(folder: Settings) -> None:
    rows = [
        ModelRow("m:1b", where, "ollama:m:1b", "", "", host=where, key=key)
        for where, key in (("a", "m@1"), ("b", "m@2"), ("c", "m@1"))
    ]
    assert with_hosts(with_servers(folder, "a", "b", "c"), rows[2], rows).hosts == ("a", "c")
    here = models_here(folder)[0]
    assert with_hosts(folder, here, [*rows, here]) == folder


@pytest.mark.parametrize(
    ("requests", "candidates"), [("0", "10"), ("-1", "10"), ("", "10"), ("9", "1"), ("9", "101")]
)
def test_numbers_that_are_refused(requests: str, candidates: str) -> None:
    with pytest.raises(Exception, match="is no number of"):
        LabelsAsked.read(requests, candidates)
