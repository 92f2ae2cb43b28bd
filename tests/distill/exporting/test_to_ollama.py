"""Llamas put back on a server: made of the very bytes that were sent, and asked there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, pre_tokenizers

from distill.exporting.events import Exported
from distill.exporting.probing import NotTheSame, require_same
from distill.exporting.sources import Llama
from distill.exporting.teachers import Teacher, find_teacher
from distill.exporting.to_ollama import Order, export_ollama, probed
from distill.exporting.truncating import open_head, truncate
from recommender.backends import ModelCard, Prompt
from recommender.backends.errors import CannotTeach
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.creating import Manners, ServerFiles, file_digest
from recommender.backends.ollama.templates import ChatTemplate
from recommender.backends.opening import open_backend
from recommender.backends.weights import find_weights
from recommender.config import Settings
from recommender.events import Event, Notice, StageSkipped
from recommender.models import EMBEDDED_TEACHER, resolve_model
from recommender.parity import NEAR
from storage.errors import BadSetting
from tests.distill.exporting.llamas import open_llama, source
from tests.distill.exporting.receiving import Receiving
from tests.ollama.chat_templates import template_of
from tests.ollama.replay import VERSIONS, Replay, cases
from tests.tiny import finished

NAME = "my-student"
SENT = (*range(22), 28, 29)


@pytest.fixture
def server(family: Path, tmp_path: Path) -> Iterator[Callable[..., Receiving]]:
    """Return what starts a server that has the teacher."""
    (tmp_path / "blobs").mkdir()
    teacher = open_llama(family / "teacher.gguf")
    with ExitStack() as servers:

        def start(**more: Any) -> Receiving:
            made = Receiving(teacher, tmp_path / "blobs", name="teacher", **more)
            return servers.enter_context(made)

        yield start


def order(folder: Path, **more: Any) -> Order:
    return Order(**{"name": NAME, "format": "q8_0", "force": False, "folder": folder, **more})


def settings_of(tmp_path: Path, host: str) -> Settings:
    return Settings(data_dir=tmp_path / "home", hosts=(host,))


def teacher_of(family: Path, manners: Manners = Manners()) -> Teacher:  # noqa: B008
    return Teacher(find_weights(family / "teacher.gguf"), manners)


def exported(
    family: Path, tmp_path: Path, host: str, model: Llama | None = None, **more: Any
) -> tuple[list[Event], Exported]:
    said = list(
        export_ollama(
            model or source(family / "student"),
            more.pop("teacher", None) or teacher_of(family),
            order(tmp_path, **more),
            settings_of(tmp_path, host),
        )
    )
    last = said.pop()
    assert isinstance(last, Exported)
    return said, last


@pytest.mark.parametrize("version", VERSIONS)
class TestOnAServer:
    def test_a_student_is_its_teachers_drop_in(
        self, server: Callable[..., Receiving], family: Path, tmp_path: Path, version: str
    ) -> None:
        receiving = server(version=version)
        _, done = exported(family, tmp_path, receiving.url)
        assert done.next_step == f"recsys recommend --by teacher --teacher {NAME} --user …"
        assert done.figures["largest"] < 0.05
        assert done.figures["compared"] == 50
        backend = open_backend(NAME, settings_of(tmp_path, receiving.url))
        prompt = Prompt(("Pocket radio", "Desk lamp"), ("Gel pens", "Garden hose"), "products")
        try:
            # The teacher's three layers answer, and not the teacher.
            assert receiving.backend.model.config.num_hidden_layers == 3
            scores = backend.score(prompt, "AB")
        finally:
            backend.close()
        assert len(scores.logprobs) == 2
        assert not list((tmp_path / "home").glob("export-*"))

    def test_template_and_stop_words_are_its_teachers(
        self, server: Callable[..., Receiving], family: Path, tmp_path: Path, version: str
    ) -> None:
        receiving = server(version=version, gguf=str(family / "teacher.gguf"))
        model = source(family / "student", teacher="ollama:teacher")
        settings = settings_of(tmp_path, receiving.url)
        _, teacher = finished(find_teacher(model, settings, "ollama:teacher"))
        assert teacher.place is not None
        assert teacher.place.path == family / "teacher.gguf"
        _, done = exported(family, tmp_path, receiving.url, model, teacher=teacher)
        chatml = template_of("chatml")
        [asked] = receiving.asked("/api/create")
        assert asked["template"] == chatml.text
        assert asked["parameters"] == {"stop": list(chatml.stops)}
        assert "template and 2 stop words of the teacher" in done.summary

    def test_a_tokenizer_guessed_by_the_server_is_found_out(
        self, server: Callable[..., Receiving], family: Path, tmp_path: Path, version: str
    ) -> None:
        receiving = server(version=version)
        receiving.splits = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex("..?"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        with pytest.raises(NotTheSame, match=r"makes \d+ tokens of a text .*; it was removed"):
            exported(family, tmp_path, receiving.url)
        assert receiving.pulled == ["teacher:latest"]

    def test_a_file_is_sent_as_it_is(
        self, server: Callable[..., Receiving], family: Path, tmp_path: Path, version: str
    ) -> None:
        receiving = server(version=version)
        for _ in truncate(open_head(family / "teacher.gguf"), tmp_path / "cut.gguf", (0, 2)):
            pass
        said, done = exported(family, tmp_path, receiving.url, source(tmp_path / "cut.gguf"))
        digest = file_digest(tmp_path / "cut.gguf")
        assert receiving.asked("/api/create")[0]["files"] == {"model.gguf": digest}
        assert done.figures["largest"] < 1e-4
        assert done.figures["teacher_largest"] == 0
        # Again, under another name: the server has the file.
        said, _ = exported(
            family, tmp_path, receiving.url, source(tmp_path / "cut.gguf"), name="second"
        )
        assert any(isinstance(one, StageSkipped) and one.stage == "upload" for one in said)


class TestRefusals:
    def test_a_name_that_is_taken(
        self, server: Callable[..., Receiving], family: Path, tmp_path: Path
    ) -> None:
        receiving = server()
        with pytest.raises(BadSetting, match="has a model 'Teacher:latest' already; next: --force"):
            exported(family, tmp_path, receiving.url, name="Teacher:latest")
        assert not receiving.asked("/api/create")
        exported(family, tmp_path, receiving.url, name="teacher", force=True)

    def test_a_name_that_none_can_have(self, family: Path, tmp_path: Path) -> None:
        with pytest.raises(BadSetting, match="is no name of a model"):
            exported(family, tmp_path, "127.0.0.1:9", name="¡")

    def test_an_upload_that_is_cut_is_sent_again(
        self, server: Callable[..., Receiving], family: Path, tmp_path: Path
    ) -> None:
        receiving = server()
        receiving.cut_uploads = 1
        exported(family, tmp_path, receiving.url)

    def test_a_server_that_names_no_log_probabilities(
        self, server: Callable[..., Receiving], family: Path, tmp_path: Path
    ) -> None:
        receiving = server(logprobs=False)
        with pytest.raises(CannotTeach, match=r"was made, and cannot be compared .* names no log-"):
            exported(family, tmp_path, receiving.url)


class TestWithoutAServer:
    def test_the_file_and_the_one_command(self, family: Path, tmp_path: Path) -> None:
        manners = Manners("{{ .Prompt }}", ("<|end|>",))
        said, done = exported(
            family, tmp_path, "127.0.0.1:9", name="me/my:1b", teacher=teacher_of(family, manners)
        )
        [notice] = [one for one in said if isinstance(one, Notice)]
        assert notice.text.startswith("no Ollama server answers at http://127.0.0.1:9: the files")
        recipe = tmp_path / "me-my-1b.Modelfile"
        assert done.next_step == f"ollama create me/my:1b -f {recipe}"
        assert recipe.read_text() == (
            'FROM ./me-my-1b.gguf\nTEMPLATE """{{ .Prompt }}"""\nPARAMETER stop "<|end|>"\n'
        )
        assert open_head(tmp_path / "me-my-1b.gguf").layers == 3
        assert done.figures["compared"] == 50

    def test_a_file_is_named_where_it_lies(self, family: Path, tmp_path: Path) -> None:
        exported(family, tmp_path, "127.0.0.1:9", source(family / "teacher.gguf"))
        recipe = tmp_path / f"{NAME}.Modelfile"
        assert recipe.read_text() == f"FROM {family / 'teacher.gguf'}\n"
        assert not (tmp_path / f"{NAME}.gguf").exists()


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_what_real_servers_answered_of_the_embedded_models_cut(
    models: Path, tmp_path: Path, version: str
) -> None:
    """The cut written here is the file they took, byte for byte; so their answers are its own."""
    embedded = Path(resolve_model(models, EMBEDDED_TEACHER))
    for _ in truncate(open_head(embedded), tmp_path / "cut.gguf", SENT):
        pass
    case = cases(version)["upload-create-score"]
    asked = next(one.json for one in case.exchanges if one.path == "/api/generate")
    with (
        Replay(version, ["upload-create-score"]) as server,
        OllamaClient(server.url) as client,
        ServerFiles(client) as files,
    ):
        digest = file_digest(tmp_path / "cut.gguf")
        assert not files.has(digest)
        server._asked.clear()
        for _ in files.send(tmp_path / "cut.gguf", digest):
            pass
        assert list(files.create(asked["model"], digest))[-1] == "success"
        card = ModelCard(asked["model"], "llama", 24, 576, 0, "", "Q4_1", "there", ("letters",))
        backend = OllamaBackend(client, card, ChatTemplate("", "", "chatml"), num_ctx=2048)
        prompts = (asked["prompt"],)
        model = source(tmp_path / "cut.gguf")
        found = probed(backend, model, Teacher(), "q8_0", None, prompts)
        assert server.refused == []
    require_same(found, asked["model"], "q8_0")
    assert found.parity.prompts[0].counted == found.parity.prompts[0].here == 423
    assert found.limits == NEAR
