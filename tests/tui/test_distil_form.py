"""The form of a distillation: what can be chosen, what it comes to, and what starts nothing."""

from __future__ import annotations

import asyncio

import pytest
from textual.widgets import Checkbox, Input, Select

from distill.config import DistilConfig
from distill.methods import FIRST, TEXT_METHODS, with_method
from recommender.config import Settings
from storage.errors import BadSetting
from tests.cli.shop import NAME
from tests.distill.jobs.conftest import MODEL, Registry
from tests.tui.distilling import begun, opened, ready, screen_of, side
from tests.tui.shop import Shop, text_of, until
from tui.distil_choices import Wanted, configured, needs_of, title_of
from tui.distil_offers import teachers_here, weights_here
from tui.widgets.distil_form import LISTED, DistilForm
from tui.widgets.job_list import JobList

FIELDS = (
    *("teacher", "weights", "student", "start-from", "method", "minutes", "requests"),
    *("epochs", "seed", "tokens", "gate", "final"),
)

pytestmark = pytest.mark.usefixtures("ended")


def test_a_form_starts_a_job_that_is_then_looked_at(shop: Shop) -> None:
    """The job itself is stopped as soon as it is there: others follow one to its end."""

    async def flow() -> None:
        async with opened(begun(shop.settings), (100, 30)) as pilot:
            await until(pilot, lambda: f"Distil {NAME}" in text_of(pilot.app))
            form = screen_of(pilot).query_one(DistilForm)
            await until(pilot, lambda: "an Ollama server would add" in text_of(pilot.app))
            form.query_one("#method", Select).value = "logits-only"
            form.query_one("#student", Select).value = "deep"
            form.query_one("#requests", Input).value = "32"
            form.query_one("#minutes", Input).value = ""
            await pilot.pause()
            assert "no weights are opened" in text_of(pilot.app)
            assert form.query_one("#weights", Select).disabled
            await pilot.click("#gate")
            await pilot.click("#start")
            await ready(pilot, 1)
            await until(pilot, lambda: side(pilot) == "job")
            job = screen_of(pilot).job
            assert job is not None
            assert job.spec.title == f"{NAME}: slow, logits-only, 32 requests"
            made = DistilConfig.from_dict(job.spec.arguments)
            assert (made.category, made.teacher.spec, made.teacher.requests) == (NAME, "slow", 32)
            assert (made.method, made.teacher.weights) == ("logits-only", "none")
            assert made.loss.layer == 0.0
            assert made.student.network.blocks == 4
            assert made.teacher.ignore_gate
            assert not made.final
            await pilot.press("n")
            await pilot.click("#start")
            await until(pilot, lambda: "that runs already" in text_of(pilot.app))
            assert screen_of(pilot).query_one(JobList).option_count == 2

    asyncio.run(flow())


def test_a_number_that_is_none_starts_nothing(shop: Shop) -> None:
    async def flow() -> None:
        async with opened(begun(shop.settings)) as pilot:
            await until(pilot, lambda: f"Distil {NAME}" in text_of(pilot.app))
            epochs = screen_of(pilot).query_one("#epochs", Input)
            epochs.focus()
            await pilot.press("x", "0", "enter")
            assert epochs.value == "0"  # a letter does not go in
            await pilot.press("enter")
            await until(pilot, lambda: "no whole number of 1 or more" in text_of(pilot.app))
            assert not (shop.settings.data_dir / "jobs").exists()

    asyncio.run(flow())


def test_models_of_a_server_are_offered_and_its_absence_holds_nobody_up(
    shop: Shop, registry: Registry
) -> None:
    registry.there = True
    settings = shop.settings.model_copy(update={"hosts": ("127.0.0.1:9", registry.url)})

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            await until(pilot, lambda: "and 1 model of Ollama servers" in text_of(pilot.app))
            teacher = screen_of(pilot).query_one("#teacher", Select)
            assert teacher.value == "slow"
            teacher.value = MODEL
            await pilot.pause()
            assert MODEL in text_of(pilot.app)
            assert screen_of(pilot).query_one(DistilForm).wanted.teacher == MODEL

    asyncio.run(flow())


def test_a_damaged_list_of_models_is_said(shop: Shop) -> None:
    (shop.settings.models / "registered.json").write_text("{")

    async def flow() -> None:
        async with opened(begun(shop.settings)) as pilot:
            await until(pilot, lambda: "cannot read the registered models" in text_of(pilot.app))
            assert side(pilot) == "form"

    asyncio.run(flow())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"minutes": "-1"}, "minutes: '-1' is no number"),
        ({"minutes": "nan"}, "minutes: 'nan' is no number"),
        ({"minutes": "soon"}, "minutes: 'soon' is no number"),
        ({"requests": "2.5"}, "requests: '2.5' is no whole number"),
        ({"requests": "-3"}, "requests: '-3' is no whole number"),
        ({"epochs": "0"}, "epochs: '0' is no whole number of 1"),
        ({"seed": "-1"}, "seed: '-1' is no whole number"),
        ({"method": "magic"}, "no method 'magic'"),
        ({"method": "tinybert"}, "'tinybert' compares token by token"),
        ({"requests": "1"}, "one request does not differ from itself"),
        ({"student": "huge"}, "no student 'huge'"),
        ({"student": "micro", "weights": "none"}, "is made and taught by weights"),
        ({"student": "micro", "tokens": "many"}, "tokens: 'many' is no whole number"),
        ({"student": "micro", "final": True}, "has no final training"),
        ({"student": "cut-75", "method": "labels-permuted"}, "is about what the teacher says"),
        ({"start": "middle"}, "starts from 'text' or 'free'"),
    ],
)
def test_what_cannot_be_wanted(settings: Settings, changes: dict[str, str], says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        configured(Wanted("Books", "embedded", **changes), settings)  # type: ignore[arg-type]


def test_what_is_wanted_is_what_the_command_line_would_do(settings: Settings) -> None:
    from tui.cli import distill

    here = settings.model_copy(update={"candidates": 7, "weights": "mine", "seed": 5})
    made = configured(Wanted("Books", "embedded", weights="mine", minutes="3"), here)
    asked = distill.configured("Books", here, minutes=3, requests=0, epochs=None)
    assert made == asked
    other = configured(Wanted("Books", "other:1b", weights="mine", minutes="3"), here)
    assert other == asked.with_teacher(spec="other:1b")
    assert title_of(made) == "Books: embedded, fisher-ld, 3 min"


@pytest.mark.parametrize("name", list(LISTED))
def test_every_method_that_is_offered_can_be_configured(settings: Settings, name: str) -> None:
    made = configured(Wanted("Books", "embedded", method=name, requests="2"), settings)
    assert made.method == name
    assert made == with_method(made, name)
    needs = needs_of(name)
    assert needs.weights == (made.teacher.weights != "none")
    loss = made.loss
    assert needs.teacher == (loss.output > 0 or loss.layer > 0 or loss.ranked.is_on)


def test_one_request_is_enough_for_labels_and_said_as_one(settings: Settings) -> None:
    wanted = Wanted("Books", "embedded", method="logits-only", requests="1")
    assert title_of(configured(wanted, settings)) == "Books: embedded, logits-only, 1 request"


def test_a_size_of_gru4rec_is_one(settings: Settings) -> None:
    made = configured(Wanted("Books", "embedded", student="gru4rec"), settings)
    assert made.student.network.architecture == "gru4rec"


@pytest.mark.parametrize("name", list(TEXT_METHODS))
def test_every_method_of_a_student_that_reads_text_can_be_configured(
    settings: Settings, name: str
) -> None:
    wanted = Wanted("Books", "embedded", student="cut-75", method=name, tokens="900")
    made = configured(wanted, settings)
    assert made.language is not None
    assert (made.method, made.language.cut, made.language.tokens) == (name, 0.75, 900)
    assert title_of(made) == f"Books: Llama of embedded, {name}, 900 tokens"


def test_a_student_that_reads_text_has_fields_and_methods_of_its_own(shop: Shop) -> None:
    async def flow() -> None:
        async with opened(begun(shop.settings)) as pilot:
            await until(pilot, lambda: f"Distil {NAME}" in text_of(pilot.app))
            form = screen_of(pilot).query_one(DistilForm)
            form.query_one("#final", Checkbox).value = True
            form.query_one("#student", Select).value = "micro"
            await pilot.pause()
            closed = {one for one in FIELDS if form.query_one(f"#{one}").disabled}
            assert closed == {"start-from", "minutes", "requests", "epochs", "final"}
            form.query_one("#method", Select).value = "tinybert"
            form.query_one("#tokens", Input).value = "700"
            await pilot.pause()
            assert TEXT_METHODS["tinybert"].about[:20] in text_of(pilot.app)
            made = configured(form.wanted, shop.settings)
            assert made.language is not None
            assert (made.method, made.language.layers, made.language.tokens) == ("tinybert", 4, 700)
            assert (made.final, made.minutes) == (False, 0)
            # It needs its teacher's weights even where it hears nobody.
            form.query_one("#method", Select).value = "none"
            await pilot.pause()
            assert not form.query_one("#teacher").disabled
            assert not form.query_one("#weights").disabled
            # What only it can learn by goes with it.
            form.query_one("#method", Select).value = "tinybert"
            form.query_one("#student", Select).value = "deep"
            await pilot.pause()
            assert form.query_one("#method", Select).value == FIRST
            assert form.query_one("#tokens").disabled
            assert form.wanted.final

    asyncio.run(flow())


def test_own_backends_and_weights_of_the_settings_are_offered(settings: Settings) -> None:
    here = settings.model_copy(update={"backends": {"mine": "a:B"}, "weights": "org/model"})
    assert [one.value for one in teachers_here(here)] == ["embedded", "minilm", "mine"]
    assert [one.value for one in weights_here(here)] == ["org/model", "", "none", "embedded"]
