"""A server that takes files and makes models of them: real ones, opened from what was sent.

`Serving` answers; here is what `ollama create` needs besides, with the statuses and lines that
were recorded. A request is answered by the model it names.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from recommender.backends.embedded import EmbeddedBackend
from tests.distill.exporting.llamas import open_llama
from tests.ollama.answering import Speaker
from tests.ollama.faults import is_old
from tests.ollama.loopback import NDJSON, Reply, Seen, dumped
from tests.ollama.questions import full_name
from tests.ollama.serving import Serving

BLOBS = "/api/blobs/"


class Receiving(Serving):
    """A server of a teacher, to which models can be added."""

    def __init__(self, teacher: EmbeddedBackend, folder: Path, **settings: Any) -> None:
        """`folder` is where it keeps what is sent."""
        super().__init__(teacher, **settings)
        self.folder = folder
        self.held = {self.name: teacher}
        self.splits: Any = None
        """A way of splitting text that it gives every model that is made, as servers guess."""
        self.cut_uploads = 0
        """So many uploads are cut, one after another."""

    def answer(self, asked: Seen, reply: Reply) -> None:
        """Answer one request."""
        fields = asked.json if isinstance(asked.json, dict) else {}
        if asked.path.startswith(BLOBS):
            return self._blob(asked, reply)
        if asked.path == "/api/create":
            return self._create(fields, reply)
        if asked.path == "/api/delete":
            return self._delete(fields, reply)
        named = self.held.get(full_name(str(fields.get("model", ""))))
        if named is not None and named is not self.backend:
            self.backend, self.speaker = named, Speaker(named)
            self.speaker.old = is_old(self.version)
        return super().answer(asked, reply)

    def _blob(self, asked: Seen, reply: Reply) -> None:
        digest = asked.path.removeprefix(BLOBS)
        file = self.folder / digest.replace(":", "-")
        if asked.method == "HEAD":
            return reply.whole(200 if file.exists() else 404, b"", {})
        if self.cut_uploads:
            self.cut_uploads -= 1
            return reply.cut()
        found = f"sha256:{hashlib.sha256(asked.body).hexdigest()}"
        if found != digest:
            said = f'digest mismatch, expected "{digest}", got "{found}"'
            return reply.json(400, {"error": said})
        there = file.exists()
        file.write_bytes(asked.body)
        return reply.whole(200 if there else 201, b"", {})

    def _create(self, fields: dict[str, Any], reply: Reply) -> None:
        [digest] = fields["files"].values()
        file = self.folder / digest.replace(":", "-")
        if not file.exists():
            return reply.json(400, {"error": f"blob {digest} not found"})
        backend = open_llama(file)
        if self.splits is not None:
            backend.tokenizer.backend_tokenizer.pre_tokenizer = self.splits
        name = full_name(fields["model"])
        self.held[name] = backend
        self.add(name)
        reply.start(200, {"content-type": NDJSON})
        lines = ["parsing GGUF", f"using existing layer {digest}", "writing manifest", "success"]
        if not is_old(self.version):
            lines.insert(1, "verifying conversion")
        for line in lines:
            reply.chunk(dumped({"status": line}) + b"\n")
        return reply.end()

    def _delete(self, fields: dict[str, Any], reply: Reply) -> None:
        name = full_name(fields["model"])
        if name not in self.pulled:
            return reply.json(404, {"error": f"model '{fields['model']}' not found"})
        self.pulled.remove(name)
        del self.held[name]
        return reply.whole(200, b"", {})
