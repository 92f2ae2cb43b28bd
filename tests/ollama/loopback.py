"""An HTTP/1.1 server on this machine's loopback: what the test servers of this folder stand on.

Connections are kept alive and every write goes out at once, as an Ollama server's do. A server
is left only when its connections are closed and its threads have ended, and what failed in one
of them is raised there: a test cannot pass over a server that broke.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self

WHOLE_BYTES = 2048
"""A longer body is sent in chunks and without its length: Go's buffer, as recorded."""
LOOK_SECONDS = 0.05
"""So often somebody who waits for a slot looks whether his client is still there."""

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    json: Any
    """None where the body is not JSON, or there is none."""
    body: bytes


class Gone(ConnectionError):
    """The client closed the connection before its answer."""


class Reply:
    """Writes one answer, whole or in chunks."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self._bare = handler.command == "HEAD"

    def whole(
        self, status: int, body: bytes, headers: Mapping[str, str], *, chunked: bool | None = None
    ) -> None:
        """Send a body in one piece; in one HTTP chunk if it is long, or as `chunked` says."""
        if len(body) > WHOLE_BYTES if chunked is None else chunked:
            self.start(status, headers)
            if body:
                self.chunk(body)
            self.end()
            return
        length = {} if self._bare else {"content-length": str(len(body))}
        self._write(_head(status, {**headers, **length}) + (b"" if self._bare else body))

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of an answer in chunks."""
        self._write(_head(status, {**headers, "transfer-encoding": "chunked"}))

    def chunk(self, piece: bytes) -> None:
        """Send one chunk."""
        self._write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def end(self) -> None:
        """Send the last, empty chunk."""
        self._write(b"0\r\n\r\n")

    def json(self, status: int, found: object) -> None:
        """Send an object as Ollama writes it."""
        self.whole(status, dumped(found), {"content-type": JSON})

    def half(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Promise a body, send half of it and close the connection."""
        head = _head(status, {**headers, "content-length": str(len(body))})
        self._write(head + body[: len(body) // 2])
        self.cut()

    def cut(self) -> None:
        """Close the connection in the middle of whatever it is."""
        self._handler.close_connection = True
        with suppress(OSError):
            self._handler.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> None:
        """Wait so long.

        Raises:
            Gone: the client did not.
        """
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            if self._left_alone(left):
                raise Gone

    def look(self) -> None:
        """Raise `Gone` if the client is."""
        if self._left_alone(0):
            raise Gone

    def _left_alone(self, seconds: float) -> bool:
        one = self._handler.connection
        try:
            readable, _, _ = select.select([one], [], [], seconds)
            if not readable:
                return False
            if not one.recv(1, socket.MSG_PEEK):
                return True
        except (OSError, ValueError):
            return True
        time.sleep(min(seconds, LOOK_SECONDS))  # the next request is already here
        return False

    def _write(self, data: bytes) -> None:
        self._handler.wfile.write(data)


class Slots:
    """So many requests at once; the others wait."""

    def __init__(self, number: int) -> None:
        self._free = threading.Semaphore(number)
        self._lock = threading.Lock()
        self._started = time.perf_counter()
        self.now = 0
        self.most = 0
        """Most requests that were in a slot at once."""
        self.asked = 0
        self.asked_most = 0
        """Most requests that were here at once, in a slot or waiting for one."""
        self.over_time: list[tuple[float, int]] = []
        """(seconds since the start, requests in a slot) at every change."""

    @contextmanager
    def taken(self, reply: Reply) -> Iterator[None]:
        """Hold a slot.

        Raises:
            Gone: the client did not wait for one.
        """
        with self._lock:
            self.asked += 1
            self.asked_most = max(self.asked_most, self.asked)
        try:
            while not self._free.acquire(timeout=LOOK_SECONDS):
                reply.look()
            self._count(1)
            try:
                yield
            finally:
                self._count(-1)
                self._free.release()
        finally:
            with self._lock:
                self.asked -= 1

    def _count(self, step: int) -> None:
        with self._lock:
            self.now += step
            self.most = max(self.most, self.now)
            self.over_time.append((time.perf_counter() - self._started, self.now))


class Loopback:
    """A server at `url` while it is entered. `answer` is what a subclass adds."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        """Every request, in the order of arrival."""
        self.abandoned = 0
        """Answers that nobody waited for."""
        self._failed: list[BaseException] = []
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        assert self._server is not None, "the server is not entered"
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, asked: Seen, reply: Reply) -> None:
        """Answer one request; several threads at once."""
        raise NotImplementedError

    def asked(self, path: str) -> list[Any]:
        """Return the JSON of every request to a path."""
        return [one.json for one in list(self.seen) if one.path == path]

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()
        if self._failed:
            raise AssertionError("the test's server failed") from self._failed[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    request_queue_size = 256

    def __init__(self, owner: Loopback) -> None:
        self.owner = owner
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # without asking who 127.0.0.1 is
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def get_request(self) -> tuple[socket.socket, Any]:
        one, address = super().get_request()
        with self._lock:
            self._open.add(one)
        return one, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close what is still open, so that nobody waits for a request that never comes."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if isinstance(error, ConnectionError):
            with self._lock:
                self.owner.abandoned += 1
        elif error is not None:
            self.owner._failed.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            found = json.loads(body) if body else None
        except ValueError:
            found = None
        asked = Seen(self.command, self.path, found, body)
        self.server.owner.seen.append(asked)
        self.server.owner.answer(asked, Reply(self))

    do_GET = do_POST = do_HEAD = do_DELETE = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def dumped(found: object) -> bytes:
    r"""Write JSON as Go does: no spaces, and no sign that HTML could take for its own.

    >>> dumped({"a": "<é>"})
    b'{"a":"\\u003c\xc3\xa9\\u003e"}'
    """
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode("utf-8", "replace")


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Other"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {text}" for name, text in headers.items())]
    if "date" not in headers:
        lines.append(f"date: {formatdate(usegmt=True)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
