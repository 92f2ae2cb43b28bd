"""A file brought onto a server, and a model made of it: what `ollama create` does.

Apart from `models`, because the `ollama` package sends a file without asking whether it is there
already, and says nothing while it does. What a server answers is recorded in the transcripts
that the tests replay: 404, 201, 200 for a blob, then one line a step until 'success'.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from recommender.backends.errors import BackendError, CannotTeach, Cut, Transient
from recommender.backends.ollama.client import CONNECT_SECONDS, OllamaClient, translating
from recommender.backends.ollama.errors import error_of, proxy_in_the_way

FIRST_WITH_FILES = (0, 5, 5)
ATTEMPTS = 4
"""An upload that is cut is begun anew so often; the server keeps no part of one."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
PATIENCE = 1800.0
"""Seconds without a line: a server reads and converts a large file in silence."""
PIECE = 2**20
LOOK_SECONDS = 0.2
NAME_IN_SERVER = "model.gguf"

_PARAMETER = re.compile(r'^stop\s+(".*"|\S.*)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Manners:
    """What a server adds to a model's weights: how a turn is written, and what ends an answer."""

    template: str = ""
    """In Go's template language; empty where the server takes the file's own."""
    stops: tuple[str, ...] = ()


class ServerFiles:
    """The files of one server, and models made of them. Close it, or use it in a `with`.

    It stands on an open client, and asks by its address and options.
    """

    def __init__(self, client: OllamaClient, *, first_pause: float = FIRST_PAUSE) -> None:
        """`client` says where; `first_pause` is how long the first wait after a cut may be."""
        self.address = client.address
        options: dict[str, Any] = {
            **client.options,
            "timeout": httpx.Timeout(PATIENCE, connect=CONNECT_SECONDS),
        }
        self._http = httpx.Client(base_url=client.address, **options)
        self._retrying = Retrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=first_pause, max=LONGEST_PAUSE),
            reraise=True,
        )

    def __enter__(self) -> ServerFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def has(self, digest: str) -> bool:
        """Say whether the server has a file.

        Args:
            digest: 'sha256:' and its hash in hex.

        Raises:
            BackendError: the server does not say.
        """
        with translating(self.address):
            answer = self._http.head(f"/api/blobs/{digest}")
        if answer.status_code not in (200, 404):
            raise self._refusal(answer)
        return answer.status_code == 200

    def send(self, path: Path, digest: str) -> Iterator[int]:
        """Send a file unless it is there; yield how many bytes are sent, again and again.

        An upload that is cut is begun anew. Closing the iterator stops it.

        Raises:
            Refused: the server has another digest for these bytes.
            BackendError: of the kind that fits.
        """
        sending = _Sending(path)

        def once() -> None:
            if not self.has(digest):
                sending.sent = 0
                with translating(self.address):
                    answer = self._http.post(
                        f"/api/blobs/{digest}",
                        content=sending.pieces(),
                        headers={"content-length": str(path.stat().st_size)},
                    )
                if answer.status_code not in (200, 201):
                    raise self._refusal(answer)

        with ThreadPoolExecutor(1, thread_name_prefix="upload") as pool:
            job = pool.submit(self._retrying, once)
            try:
                while not job.done():
                    wait([job], timeout=LOOK_SECONDS)
                    yield sending.sent
            finally:
                sending.over.set()
            job.result()

    def create(
        self,
        model: str,
        digest: str,
        manners: Manners = Manners(),
    ) -> Iterator[str]:
        """Make a model of a file that was sent; yield what the server says of each step.

        Args:
            model: its name; one that is there is replaced.
            digest: of the file.
            manners: what goes with the weights.

        Raises:
            BackendError: the server will not, or its last word was not 'success'.
        """
        fields: dict[str, object] = {"model": model, "files": {NAME_IN_SERVER: digest}}
        if manners.template:
            fields["template"] = manners.template
        if manners.stops:
            fields["parameters"] = {"stop": list(manners.stops)}
        last = ""
        with (
            translating(self.address),
            self._http.stream("POST", "/api/create", json=fields) as answer,
        ):
            if answer.status_code >= 400:
                answer.read()
                raise self._refusal(answer, model)
            for line in answer.iter_lines():
                found = _object(line, self.address)
                if "error" in found:
                    raise error_of(200, line, address=self.address, model=model)
                last = str(found.get("status", ""))
                yield last
        if last != "success":
            raise Cut(f"the making of {model!r} at {self.address} ended unfinished, at {last!r}")

    def delete(self, model: str) -> None:
        """Remove a model.

        Raises:
            ModelMissing: it is not there.
        """
        with translating(self.address):
            answer = self._http.request("DELETE", "/api/delete", json={"model": model})
        if answer.status_code >= 400:
            raise self._refusal(answer, model)

    def manners(self, model: str) -> Manners:
        """Return what the server adds to a model's weights, to be given to another one.

        Raises:
            ModelMissing: it is not there.
        """
        with translating(self.address):
            answer = self._http.post("/api/show", json={"model": model})
        if answer.status_code >= 400:
            raise self._refusal(answer, model)
        found = _object(answer.text, self.address)
        return Manners(str(found.get("template") or ""), stops_of(str(found.get("parameters", ""))))

    def _refusal(self, answer: httpx.Response, model: str = "") -> BackendError:
        return error_of(answer.status_code, answer.text, address=self.address, model=model)


class _Unwanted(Exception):
    """Nobody waits for the upload any longer."""


class _Sending:
    """A file under way: how much of it was handed over, and whether anybody still wants it."""

    def __init__(self, path: Path) -> None:
        self.path, self.sent, self.over = path, 0, threading.Event()

    def pieces(self) -> Iterator[bytes]:
        with self.path.open("rb") as stream:
            while piece := stream.read(PIECE):
                if self.over.is_set():
                    raise _Unwanted
                yield piece
                self.sent += len(piece)


def require_files(client: OllamaClient) -> str:
    """Return the server's version, if it is one that makes models of files.

    Raises:
        ServerDown: nobody answers.
        CannotTeach: it is too old.
    """
    version = client.version()
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    if (0, 0, 0) < numbers < FIRST_WITH_FILES:
        raise CannotTeach(
            f"the Ollama server at {client.address} is {version}, which makes no models of files",
            next_step="update Ollama to 0.12.11 or later",
        )
    return version


def file_digest(path: Path) -> str:
    """Return the digest of a file as servers name it.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     file_digest(Path(file.name))[:15]
    'sha256:e3b0c442'
    """
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def stops_of(parameters: str) -> tuple[str, ...]:
    r"""Return the stop words in the parameters that a server shows.

    >>> stops_of('stop    "<|im_start|>"\nstop   "<|im_end|>"\ntemperature   0.5')
    ('<|im_start|>', '<|im_end|>')
    """
    found = []
    for text in _PARAMETER.findall(parameters):
        try:
            said = json.loads(text)
        except ValueError:
            said = text
        found.append(str(said))
    return tuple(found)


def modelfile(file: str, manners: Manners) -> str:
    """Return what `ollama create -f` makes the same model of.

    >>> modelfile("./a.gguf", Manners(stops=("<|end|>",))).splitlines()
    ['FROM ./a.gguf', 'PARAMETER stop "<|end|>"']
    """
    lines = [f"FROM {file}"]
    if manners.template:
        lines.append(f'TEMPLATE """{manners.template}"""')
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in manners.stops]
    return "\n".join(lines) + "\n"


def _quoted(stop: str) -> str:
    return f'"{stop}"' if '"' not in stop else f'"""{stop}"""'


def _object(text: str, address: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Cut(f"half an answer came from {address}: {text[-40:]!r}") from error
    if not isinstance(found, dict):
        raise proxy_in_the_way(200, address)
    return found
