"""Files sent and models made, against what two real servers answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from recommender.backends.errors import (
    CannotTeach,
    Cut,
    Died,
    Lost,
    ModelMissing,
    Refused,
    ServerDown,
)
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.creating import (
    Manners,
    ServerFiles,
    file_digest,
    modelfile,
    require_files,
    stops_of,
)
from tests.ollama.loopback import NDJSON, Loopback, Reply, Seen
from tests.ollama.replay import VERSIONS, Exchange, Replay, cases

CASE = "upload-create-score"
MODEL = "smollm2-24"
SENT = "sha256:8c0d346e9d8ffa7368305374f1ee942c8623b474e1f3cc1629ea55c4a888830c"
CHATML = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"


class OwnFile(Replay):
    """The recorded server, as if the file of a test had been the one that was sent."""

    def __init__(self, version: str, digest: str, only: tuple[str, ...] = (CASE,)) -> None:
        super().__init__(version, only)
        self._kept.clear()
        for name in only:
            for one in cases(version)[name].exchanges:
                own = renamed(one, digest)
                self._kept[own.key].append((name, own))


def renamed(one: Exchange, digest: str) -> Exchange:
    written = json.loads(json.dumps(one.json).replace(SENT, digest))
    return replace(one, path=one.path.replace(SENT, digest), json=written)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(range(256)) * 20_000)
    return path


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def connected(stack: ExitStack, server: Loopback) -> tuple[OllamaClient, ServerFiles]:
    stack.enter_context(server)
    client = stack.enter_context(OllamaClient(server.url))
    return client, stack.enter_context(ServerFiles(client, first_pause=0.01))


@pytest.mark.parametrize("version", VERSIONS)
class TestRecorded:
    def test_a_file_is_sent_once_and_a_model_made_of_it(
        self, stack: ExitStack, file: Path, version: str
    ) -> None:
        digest = file_digest(file)
        server = OwnFile(version, digest)
        _, files = connected(stack, server)
        assert not files.has(digest)
        # What was recorded of the question before the upload is used up: it is there now.
        server._asked.clear()
        sent = list(files.send(file, digest))
        assert sent[-1] <= file.stat().st_size
        said = list(files.create(MODEL, digest))
        assert said[0] == "parsing GGUF"
        assert said[-1] == "success"
        assert ("verifying conversion" in said) == (version == "0.32.15")
        assert server.asked("/api/create") == [{"model": MODEL, "files": {"model.gguf": digest}}]
        [upload] = [one for one in server.seen if one.method == "POST" and "blobs" in one.path]
        assert upload.body == file.read_bytes()
        assert server.refused == []

    def test_a_file_that_is_there_is_not_sent_again(
        self, stack: ExitStack, file: Path, version: str
    ) -> None:
        digest = file_digest(file)
        server = OwnFile(version, digest)
        _, files = connected(stack, server)
        files.has(digest)  # the first was asked before it was sent
        list(files.send(file, digest))
        assert [one.method for one in server.seen] == ["HEAD", "HEAD"]

    def test_template_and_stop_words_go_along(self, stack: ExitStack, version: str) -> None:
        case = cases(version)["create-llama-safetensors"].exchanges[-1]
        server = Replay(version, ["create-llama-safetensors"])
        _, files = connected(stack, server)
        manners = Manners(case.json["template"], tuple(case.json["parameters"]["stop"]))
        with pytest.raises(Died, match="differs in files"):  # a directory was recorded
            list(files.create("smollm2-29", SENT, manners))
        [asked] = server.asked("/api/create")
        assert {**asked, "files": case.json["files"]} == case.json

    def test_what_a_server_adds_to_a_model(self, stack: ExitStack, version: str) -> None:
        _, files = connected(stack, Replay(version, [CASE]))
        found = files.manners(MODEL)
        assert found.template.startswith(CHATML)
        assert found.stops == ("<|im_start|>", "<|im_end|>")

    def test_a_model_is_removed(self, stack: ExitStack, version: str) -> None:
        server = Replay(version, [CASE, "delete-missing"])
        _, files = connected(stack, server)
        files.delete(MODEL)
        case = cases(version)["delete-missing"].exchanges[0]
        with pytest.raises(ModelMissing):
            files.delete(case.json["model"])

    def test_bytes_of_another_digest(self, stack: ExitStack, version: str, tmp_path: Path) -> None:
        case = cases(version)["blob-mismatch"].exchanges[0]
        (tmp_path / "x").write_bytes(case.sent)
        server = Replay(version, ["blob-head-missing", "blob-mismatch"])
        _, files = connected(stack, server)
        with pytest.raises(Refused, match="digest mismatch"):
            list(files.send(tmp_path / "x", case.path.removeprefix("/api/blobs/")))
        assert [one.method for one in server.seen] == ["HEAD", "POST"]  # and not once more

    def test_its_version(self, stack: ExitStack, version: str) -> None:
        client, _ = connected(stack, Replay(version, ["version"]))
        assert require_files(client) == version


class Failing(Loopback):
    """A server that cuts uploads, and makes models as it is told."""

    def __init__(
        self, cuts: int = 0, lines: tuple[str, ...] = (), version: str = "0.32.15"
    ) -> None:
        super().__init__()
        self.cuts, self.lines, self.version = cuts, lines, version
        self.kept: list[bytes] = []

    def answer(self, asked: Seen, reply: Reply) -> None:
        if asked.path == "/api/version":
            return reply.json(200, {"version": self.version})
        if asked.method == "HEAD":
            return reply.whole(200 if self.kept else 404, b"", {})
        if asked.path == "/api/create":
            reply.start(200, {"content-type": NDJSON})
            for line in self.lines:
                reply.chunk(line.encode() + b"\n")
            return reply.end()
        if self.cuts:
            self.cuts -= 1
            return reply.cut()
        self.kept.append(asked.body)
        return reply.whole(201, b"", {})


class TestWhatGoesWrong:
    def test_an_upload_that_is_cut_is_begun_anew(self, stack: ExitStack, file: Path) -> None:
        server = Failing(cuts=2)
        _, files = connected(stack, server)
        list(files.send(file, file_digest(file)))
        assert server.kept == [file.read_bytes()]

    def test_one_that_is_always_cut(self, stack: ExitStack, file: Path) -> None:
        _, files = connected(stack, Failing(cuts=99))
        with pytest.raises(Lost):
            list(files.send(file, file_digest(file)))

    def test_closing_it_stops_the_upload(self, stack: ExitStack, tmp_path: Path) -> None:
        path = tmp_path / "large"
        path.write_bytes(bytes(64 * 2**20))
        server = Failing()
        _, files = connected(stack, server)
        job = files.send(path, file_digest(path))
        job.close()  # not begun: nothing was sent
        assert server.seen == []
        job = files.send(path, file_digest(path))
        next(job)
        job.close()
        assert len(server.kept) <= 1

    @pytest.mark.parametrize(
        ("lines", "kind", "said"),
        [
            (('{"status":"parsing GGUF"}',), Cut, "ended unfinished, at 'parsing GGUF'"),
            ((), Cut, "ended unfinished, at ''"),
            (('{"status":"parsing GGUF"}', '{"error":"invalid file magic"}'), Refused, "magic"),
            (("half a li",), Cut, "half an answer"),
            (("[1]",), ServerDown, "something else than Ollama"),
        ],
    )
    def test_a_model_that_is_not_made(
        self, stack: ExitStack, lines: tuple[str, ...], kind: type[Exception], said: str
    ) -> None:
        _, files = connected(stack, Failing(lines=lines))
        with pytest.raises(kind, match=said):
            list(files.create("m", SENT))

    def test_a_server_that_is_too_old(self, stack: ExitStack) -> None:
        client, _ = connected(stack, Failing(version="0.5.4"))
        with pytest.raises(CannotTeach, match=r"is 0\.5\.4, which makes no models of files"):
            require_files(client)

    def test_nobody(self) -> None:
        with OllamaClient("127.0.0.1:9") as client, ServerFiles(client) as files:
            with pytest.raises(ServerDown):
                require_files(client)
            with pytest.raises(Lost):
                files.has(SENT)


def test_stop_words_as_they_are_shown() -> None:
    shown = 'num_ctx    4096\nstop   "<|eot_id|>"\nstop  "a \\"b\\""\nstop  plain word\nstopping 3'
    assert stops_of(shown) == ("<|eot_id|>", 'a "b"', "plain word")
    assert stops_of("") == ()


def test_a_modelfile_says_the_same() -> None:
    said = modelfile("./a.gguf", Manners("{{ .Prompt }}\n", ("<|end|>", 'a"b')))
    assert said == (
        'FROM ./a.gguf\nTEMPLATE """{{ .Prompt }}\n"""\nPARAMETER stop "<|end|>"\n'
        'PARAMETER stop """a"b"""\n'
    )
