"""A real, small language model behind the Ollama protocol, and every way it can fail.

What the tests of the client ask. The answers are computed, by the model that is handed in, so
log-probabilities mean something; statuses, fields and wordings are those that were recorded
from 0.24.0 and 0.32.15, and the version that is named decides which of the two it follows.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from recommender.backends.embedded import EmbeddedBackend
from storage.records import FloatArray
from tests.ollama import shelf
from tests.ollama.answering import REPEATS, Speaker
from tests.ollama.chat_templates import template_of
from tests.ollama.faults import Fault, is_old, refuse
from tests.ollama.loopback import Loopback, Reply, Seen, Slots
from tests.ollama.questions import Question, Refusal, full_name
from tests.ollama.turns import ask

STALL_SECONDS = 10.0
TEXT = {"content-type": "text/plain"}


class Encodes(Protocol):
    """What makes the vectors of `/api/embed`."""

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (texts, width)."""
        ...


class Serving(Loopback):
    """A model's server at `url`, while it is entered.

    Assign `fault` at any time, and `fault_times` for how many of the requests that it meets
    (`Fault.meets`) it happens to; None is all of them. When they are used up, both are None
    again. Assign `digest` for another build, `version` for another server at the address.
    """

    def __init__(
        self,
        backend: EmbeddedBackend,
        *,
        name: str = "tiny:latest",
        version: str = "0.32.15",
        slots: int = 1,
        answer_seconds: float = 0.0,
        capabilities: Sequence[str] = ("completion",),
        logprobs: bool = True,
        debug_render: bool = True,
        template: str = "chatml",
        encoder: Encodes | None = None,
        gguf: str = "",
    ) -> None:
        """Stand before an open backend.

        Args:
            backend: the model; it is run here, one pass at a time.
            name: as `/api/tags` lists it.
            version: decides wordings and limits.
            slots: requests that are answered at once; others wait.
            answer_seconds: an answer takes at least so long, as if the model were larger.
            capabilities: as `/api/show` lists them; a template that thinks adds 'thinking'.
            logprobs: whether the server knows of them (0.12.11 and later).
            debug_render: whether it knows `_debug_render_only` (0.11.5 and later).
            template: 'chatml', 'chatml-think', 'thinking-only', 'llama3' or 'harmony'.
            encoder: what embeds, with the capability 'embedding'.
            gguf: path in the Modelfile's FROM; without it that of a blob of its own.
        """
        super().__init__()
        self.backend, self.name = backend, full_name(name)
        self.speaker = Speaker(backend)
        self.version = version
        self.template, self.encoder, self.gguf = template_of(template), encoder, gguf
        thinks = self.template.thinks and "thinking" not in capabilities
        self.capabilities = (*capabilities, *(("thinking",) if thinks else ()))
        self.knows_logprobs, self.debug_render = logprobs, debug_render
        self.answer_seconds = answer_seconds
        self.pull_seconds = 0.0
        """Between two lines of a pull."""
        self.pull_ends = True
        """False: no layer is seen to its end and the last is not seen at all, before a pull says
        'success'. So 0.32.15 was recorded; 0.24.0 names every layer to its last byte."""
        self.stall_seconds = STALL_SECONDS
        self.repeats = REPEATS
        """More repetitions of a token than this end an answer unfinished."""
        self.slots = Slots(slots)
        self.digest = hashlib.sha256(backend.describe().digest.encode()).hexdigest()
        self.pulled = [self.name]
        """Names that are listed, all of this model."""
        self.loads = 0
        """How often the model was loaded, or loaded again for other options."""
        self.loaded: tuple[Any, ...] | None = None
        """What it is loaded with, num_ctx first; None when it is not."""
        self.fault: Fault | None = None
        self.fault_times: int | None = None
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """What the server says it is."""
        return self._version

    @version.setter
    def version(self, version: str) -> None:
        self._version = version
        self.speaker.old = is_old(version)

    @property
    def in_flight_most(self) -> int:
        """Most requests that were answered at once; `slots.asked_most` has the waiting too."""
        return self.slots.most

    def answer(self, asked: Seen, reply: Reply) -> None:
        """Answer one request, or let it fail."""
        fields = asked.json if isinstance(asked.json, dict) else {}
        fault = self._fault_for(asked.path, fields)
        if refuse(fault, self.version, reply):
            return None
        if fault is Fault.STALL:
            reply.wait(self.stall_seconds)
        method = "GET" if asked.method == "HEAD" else asked.method
        if asked.path not in _ROUTES:
            return reply.whole(404, b"404 page not found", TEXT)
        needs, route = _ROUTES[asked.path]
        if method != needs:
            return reply.whole(405, b"405 method not allowed", TEXT)
        try:
            if method == "POST" and asked.json is None:
                raise Refusal(400, "unexpected EOF" if asked.body else "missing request body")
            return route(self, fields, reply, fault)
        except Refusal as refusal:
            return reply.json(refusal.status, {"error": refusal.said})

    def known(self, fields: Mapping[str, Any], said: str = "model '{}' not found") -> str:
        """Return the name of the model that is asked for, as it is written.

        Raises:
            Refusal: it is not pulled.
        """
        model = str(fields.get("model") or fields.get("name") or "")
        if not model:
            raise Refusal(400, "model is required")
        if full_name(model) not in self.pulled:
            raise Refusal(404, said.format(model))
        return model

    def load(self, question: Question) -> int:
        """See to it that the model is loaded as asked; return the nanoseconds it took."""
        began = time.perf_counter_ns()
        with self._lock:
            if question.only_loads and question.unloads:
                self.loaded = None
            elif self.loaded != question.loaded_with:
                self.loads += 1
                self.loaded = question.loaded_with
        return time.perf_counter_ns() - began

    def unload(self) -> None:
        """Take the model out of memory."""
        self.loaded = None

    def add(self, name: str) -> None:
        """List a model that was pulled."""
        with self._lock:
            if name not in self.pulled:
                self.pulled.append(name)

    def _fault_for(self, path: str, fields: Mapping[str, Any]) -> Fault | None:
        with self._lock:
            fault = self.fault
            if fault is None or not fault.meets(path, fields):
                return None
            if self.fault_times is not None:
                self.fault_times -= 1
                if self.fault_times <= 0:
                    self.fault = self.fault_times = None
            return fault


Fields = dict[str, Any]
Route = Callable[[Serving, Fields, Reply, Fault | None], None]


def _root(_serving: Serving, _fields: Fields, reply: Reply, _fault: Fault | None) -> None:
    reply.whole(200, b"Ollama is running", {"content-type": "text/plain; charset=utf-8"})


def _version(serving: Serving, _fields: Fields, reply: Reply, _fault: Fault | None) -> None:
    reply.json(200, {"version": serving.version})


def _tags(serving: Serving, _fields: Fields, reply: Reply, _fault: Fault | None) -> None:
    reply.json(200, shelf.tags(serving))


def _loaded(serving: Serving, _fields: Fields, reply: Reply, _fault: Fault | None) -> None:
    reply.json(200, shelf.loaded(serving))


def _show(serving: Serving, fields: Fields, reply: Reply, _fault: Fault | None) -> None:
    reply.json(200, shelf.show(serving, fields))


def _pull(serving: Serving, fields: Fields, reply: Reply, _fault: Fault | None) -> None:
    shelf.pull(serving, fields, reply)


def _embed(serving: Serving, fields: Fields, reply: Reply, _fault: Fault | None) -> None:
    reply.json(200, shelf.embed(serving, fields))


def _generate(serving: Serving, fields: Fields, reply: Reply, fault: Fault | None) -> None:
    ask(serving, fields, reply, fault, chat=False)


def _chat(serving: Serving, fields: Fields, reply: Reply, fault: Fault | None) -> None:
    ask(serving, fields, reply, fault, chat=True)


_ROUTES: dict[str, tuple[str, Route]] = {
    "/": ("GET", _root),
    "/api/version": ("GET", _version),
    "/api/tags": ("GET", _tags),
    "/api/ps": ("GET", _loaded),
    "/api/show": ("POST", _show),
    "/api/pull": ("POST", _pull),
    "/api/embed": ("POST", _embed),
    "/api/generate": ("POST", _generate),
    "/api/chat": ("POST", _chat),
}
