"""Every wording a server is known to use is an error of the right kind, with a next step."""

from __future__ import annotations

import json

import pytest

from recommender.backends.errors import (
    BackendError,
    Busy,
    CannotTeach,
    ContextTooSmall,
    Died,
    ModelMissing,
    OutOfMemory,
    Refused,
    ServerDown,
    Transient,
)
from recommender.backends.ollama.address import address_of
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.errors import error_of, message_of
from storage.errors import BadSetting, Offline, TeacherUnfit, UnknownName

PAGE = "<!DOCTYPE html><html>Bad gateway</html>"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, '{"error":"server busy, please try again.  maximum pending requests"}', Busy),
        (429, '{"error":"too many requests"}', Busy),
        (503, PAGE, Busy),
        (504, PAGE, Died),
        (502, PAGE, ServerDown),
        (500, '{"error":"do load request: Post \\"http://127.0.0.1:1/load\\": EOF"}', Died),
        (500, '{"error":"dial tcp 127.0.0.1:9: connect: connection refused"}', Died),
        (500, '{"error":"llama-server process has terminated: exit status 2"}', Died),
        (500, '{"error":"timed out waiting for llama-server to start - progress 0"}', Died),
        (500, '{"error":"model runner has unexpectedly stopped"}', Died),
        (400, '{"error":"unexpected EOF"}', Refused),
        (500, '{"error":"model requires more system memory (37 GiB) than is"}', OutOfMemory),
        (500, '{"error":"llama-server reported out-of-memory during startup: x"}', OutOfMemory),
        (400, '{"error":"the input length exceeds the context length"}', ContextTooSmall),
        (400, '{"error":"the prompt is longer than the context length"}', ContextTooSmall),
        (404, '{"error":"model \\"x\\" not found, try pulling it first"}', ModelMissing),
        (400, '{"error":"\\"m\\" does not support generate"}', CannotTeach),
        (400, '{"error":"raw mode does not support template"}', Refused),
        (500, '{"error":"option \\"num_ctx\\" must be of type integer"}', Refused),
        (500, "", Died),
        (500, "\x00\xff", Died),
        (400, '{"error":{"error":{"error":[1]}}}', Refused),
    ],
)  # fmt: skip
def test_a_wording_is_an_error_of_its_kind(
    status: int, body: str, kind: type[BackendError]
) -> None:
    found = error_of(status, body, address="http://box:11434", model="llama3.1:8b")
    assert type(found) is kind
    assert "\n" not in str(found)
    if not isinstance(found, Transient):
        assert found.next_step


def test_the_kinds_are_those_the_rest_of_the_program_knows() -> None:
    assert issubclass(ServerDown, Offline)
    assert issubclass(ModelMissing, UnknownName)
    assert issubclass(ContextTooSmall, BadSetting)
    assert issubclass(CannotTeach, TeacherUnfit)


def test_a_message_is_found_however_deep_and_nesting_ends() -> None:
    said = "deep"
    for _ in range(3):
        said = json.dumps({"error": said})
    assert message_of(said) == "deep"
    assert message_of('{"error":' * 3000)


@pytest.mark.parametrize(
    "host",
    ["http://a..b", "x" * 70 + ".example", "bo x", "http://", "ftp://box", "box:port", "box:99999",
     "http://user:pw@box", "b\x00x", "bo\nx", "http://box?x=1", "höst\u202e"],
)  # fmt: skip
def test_what_is_no_address_is_a_sentence(host: str) -> None:
    with pytest.raises(BadSetting, match="is no address of a server"):
        address_of(host)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("box", "http://box:11434"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("box:1", "http://box:1"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:5", "http://[::1]:5"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("http://box:1/ollama/", "http://box:1/ollama"),
        ('"127.0.0.1"', "http://127.0.0.1:11434"),
    ],
)
def test_an_address_is_read_as_the_server_reads_it(host: str, address: str) -> None:
    assert address_of(host) == address
    OllamaClient(host).close()
