"""One Ollama server, asked over HTTP: bytes in, typed answers or typed errors out.

Our own for what the `ollama` package drops or differs in: scoring with `truncate`, the
rendered template, the server's version, and one kind of error whatever the transport does.
What the package does well, `models` lets it do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpx

from recommender.backends.errors import BackendError, Cut, Lost, ServerDown, TooSlow
from recommender.backends.ollama.address import address_of, is_local
from recommender.backends.ollama.errors import error_of, proxy_in_the_way
from storage.errors import BadSetting

CONNECT_SECONDS = 5.0
FIRST_ANSWER_SECONDS = 600.0
"""The first answer waits for the model to be loaded, and for whoever stands before us."""
ANSWER_SECONDS = 120.0

Fields = Mapping[str, object]


class OllamaClient:
    """An address with a pool of connections. Close it, or use it in a `with`.

    >>> with OllamaClient("127.0.0.1:9") as client:
    ...     client.version()
    Traceback (most recent call last):
    ...
    recommender.backends.errors.ServerDown: ...
    """

    def __init__(
        self,
        host: str = "",
        *,
        answer_seconds: float = ANSWER_SECONDS,
        connections: int = 64,
    ) -> None:
        """`host` as people write it; `answer_seconds` is how long an answer may take."""
        self.address = address_of(host)
        self._quickly = min(CONNECT_SECONDS, answer_seconds)
        # What any client of this server takes. A proxy is for other machines: one in the
        # environment would swallow what is meant for a local server.
        self.options: dict[str, Any] = {
            "timeout": httpx.Timeout(answer_seconds, connect=min(CONNECT_SECONDS, answer_seconds)),
            "trust_env": not is_local(self.address),
        }
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        try:
            self._http = httpx.Client(base_url=self.address, limits=limits, **self.options)
        except httpx.InvalidURL as error:
            raise BadSetting(
                f"{host!r} is no address of a server: {error}", next_step="--host 127.0.0.1:11434"
            ) from error

    def __enter__(self) -> OllamaClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; answers under way are cancelled on the server too."""
        self._http.close()

    def version(self) -> str:
        """Return the server's version.

        Raises:
            ServerDown: nobody answers, or somebody who is no Ollama server.
        """
        try:
            found = self._json(self._sent("GET", "/api/version", seconds=self._quickly))
        except (Lost, TooSlow) as error:
            raise self.down() from error
        if not isinstance(found.get("version"), str):
            raise proxy_in_the_way(200, self.address)
        return str(found["version"])

    def down(self) -> ServerDown:
        """Return the error that says nobody answers here, and what to do without a server."""
        where = "" if is_local(self.address) else " on that machine"
        return ServerDown(
            f"no Ollama server answers at {self.address}",
            next_step=f"ollama serve{where}, or --teacher embedded, which needs no server",
        )

    def generate(self, fields: Fields, *, patient: bool = False) -> dict[str, Any]:
        """Ask `/api/generate` without a stream and return the whole answer.

        Args:
            fields: the request as the server takes it; `stream` is added.
            patient: wait as long as a model may take to be loaded.

        Raises:
            BackendError: of the kind that fits; `Cut` where the answer never said it was done.
        """
        return self._asked("/api/generate", fields, patient=patient)

    def chat(self, fields: Fields, *, patient: bool = False) -> dict[str, Any]:
        """Ask `/api/chat` without a stream; as `generate`."""
        return self._asked("/api/chat", fields, patient=patient)

    def stream(self, path: str, fields: Fields) -> Iterator[dict[str, Any]]:
        """Ask with a stream; yield each line as it comes. Closing it stops the model.

        Raises:
            BackendError: of the kind that fits; `Cut` where the last line did not say `done`.
        """
        model, done = str(fields.get("model", "")), False
        with translating(self.address):
            request = self._http.build_request("POST", path, json={**fields, "stream": True})
            answer = self._http.send(request, stream=True)
            try:
                if answer.status_code >= 400:
                    answer.read()
                    raise self._refusal(answer, model)
                for line in answer.iter_lines():
                    if not line.strip():
                        continue
                    found = self._object(line)
                    if "error" in found:
                        raise error_of(200, line, address=self.address, model=model)
                    done = bool(found.get("done"))
                    yield found
            finally:
                answer.close()
        if not done:
            raise Cut(f"the answer of {model or 'the model'} at {self.address} ended unfinished")

    def rendered(self, fields: Fields, path: str = "/api/chat") -> str | None:
        """Return the text that the model's template makes of messages; None where it won't say.

        A server that does not know `_debug_render_only` writes an answer instead, so send
        `num_predict` 1 along.
        """
        asked = {**fields, "_debug_render_only": True, "stream": False}
        answer = self._sent("POST", path, asked, seconds=FIRST_ANSWER_SECONDS)
        found = self._json(answer, model=str(fields.get("model", "")))
        text = _mapping(found.get("_debug_info")).get("rendered_template")
        return text if isinstance(text, str) else None

    def _asked(self, path: str, fields: Fields, *, patient: bool) -> dict[str, Any]:
        model = str(fields.get("model", ""))
        seconds = FIRST_ANSWER_SECONDS if patient else None
        found = self._json(self._sent("POST", path, {**fields, "stream": False}, seconds), model)
        if "error" in found:
            raise error_of(200, json.dumps(found), address=self.address, model=model)
        if found.get("done") is not True:
            raise Cut(f"the answer of {model or 'the model'} at {self.address} was never done")
        return found

    def _sent(
        self, method: str, path: str, fields: Fields | None = None, seconds: float | None = None
    ) -> httpx.Response:
        extra: dict[str, Any] = {}
        if seconds is not None:
            extra["timeout"] = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        with translating(self.address):
            return self._http.request(method, path, json=fields, **extra)

    def _json(self, answer: httpx.Response, model: str = "") -> dict[str, Any]:
        if answer.status_code >= 400:
            raise self._refusal(answer, model)
        page = answer.headers.get("content-type", "").startswith("text/html")
        if page or answer.is_redirect:
            raise proxy_in_the_way(answer.status_code, self.address)
        return self._object(answer.text)

    def _refusal(self, answer: httpx.Response, model: str) -> BackendError:
        return error_of(answer.status_code, answer.text, address=self.address, model=model)

    def _object(self, text: str) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Cut(f"half an answer came from {self.address}: {text[-40:]!r}") from error
        if not isinstance(found, dict):
            raise proxy_in_the_way(200, self.address)
        return found


@contextmanager
def translating(address: str) -> Iterator[None]:
    """Turn what the transport raises into errors of ours."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise TooSlow(f"no answer from {address} in time") from error
    except (httpx.RequestError, ConnectionError) as error:
        raise Lost(f"the connection to {address} failed: {_first_line(error)}") from error


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
