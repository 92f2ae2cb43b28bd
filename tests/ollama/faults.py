"""What goes wrong with a model server, to be switched on in `Serving`.

Every wording was recorded or stands in the server's code (../shared/research/ollama-api.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from tests.ollama.loopback import Reply

BUSY = "server busy, please try again.  maximum pending requests exceeded"
CRASH = "an error was encountered while running the model: unexpected EOF"
OUT_OF_MEMORY = {
    "0.24": "model requires more system memory (37.4 GiB) than is available (11.2 GiB)",
    "0.32": "llama-server reported out-of-memory during startup: ggml_backend_cpu_buffer_type_"
    "alloc_buffer: failed to allocate buffer of size 40158363648",
}
PAGE = b"""<!DOCTYPE html>
<html><head><title>ERROR: The requested URL could not be retrieved</title></head>
<body><h1>ERROR</h1><p>Connection to the requested host failed. (squid/6.6)</p></body></html>
"""


class Fault(Enum):
    """One thing that goes wrong. Which requests it meets is said beside it."""

    BUSY_503 = "503: the queue is full"
    CRASH_500 = "500: the model's process ended"
    OUT_OF_MEMORY = "500: the model does not fit, in the wording of the version"
    HALF_JSON = "the connection is closed in the middle of the body; whole answers"
    NOT_DONE = "200 with done:false, as after 31 equal tokens; whole answers"
    NO_LOGPROBS = "the field is missing, as before 0.12.11; requests for log-probabilities"
    EMPTY_LOGPROBS = "the list is there and empty; requests for log-probabilities"
    END_FIRST = "end of sequence is the first token: empty text, no logprobs"
    DIES_MID_STREAM = "the last line is an error, under status 200; streams"
    CUT_STREAM = "the connection is closed between two lines; streams"
    STALL = "nothing comes for `stall_seconds`, then the answer"
    SILENT_CUT = "prompt_eval_count says half of num_ctx and 2 more; whole answers"
    REPEATED_LETTER = "one letter twice and one missing; requests with a schema"
    HTML_PROXY = "502 with a page of a proxy's; every request, to whatever path"

    def meets(self, path: str, fields: Mapping[str, Any]) -> bool:
        """Say whether it happens to this request: only to those that ask for an answer's text."""
        if self is Fault.HTML_PROXY:
            return True
        if path != "/api/generate" or fields.get("_debug_render_only"):
            return False
        if self in (Fault.BUSY_503, Fault.CRASH_500, Fault.OUT_OF_MEMORY, Fault.STALL):
            return True  # loading the model meets these as well
        if not fields.get("prompt"):
            return False
        streams = fields.get("stream") is not False
        if self in (Fault.DIES_MID_STREAM, Fault.CUT_STREAM):
            return streams
        if self in (Fault.HALF_JSON, Fault.NOT_DONE, Fault.SILENT_CUT):
            return not streams
        if self in (Fault.NO_LOGPROBS, Fault.EMPTY_LOGPROBS):
            return bool(fields.get("logprobs"))
        return self is Fault.END_FIRST or bool(fields.get("format"))


def refuse(fault: Fault | None, version: str, reply: Reply) -> bool:
    """Answer for a fault that keeps the model from being asked; say whether it was one."""
    errors = {
        Fault.BUSY_503: (503, BUSY),
        Fault.CRASH_500: (500, CRASH),
        Fault.OUT_OF_MEMORY: (500, OUT_OF_MEMORY["0.24" if is_old(version) else "0.32"]),
    }
    if fault is Fault.HTML_PROXY:
        reply.whole(502, PAGE, {"content-type": "text/html;charset=utf-8", "server": "squid/6.6"})
    elif fault in errors:
        status, said = errors[fault]
        reply.json(status, {"error": said})
    return fault is Fault.HTML_PROXY or fault in errors


def spoiled(fault: Fault | None, found: dict[str, Any], num_ctx: int) -> dict[str, Any]:
    """Return a whole answer as it comes with a fault in it."""
    if fault is Fault.NOT_DONE:
        kept = ("model", "created_at", "response", "message", "logprobs")
        return {name: found[name] for name in kept if name in found} | {"done": False}
    if fault is Fault.SILENT_CUT:
        return {**found, "prompt_eval_count": num_ctx // 2 + 2}
    if fault is Fault.EMPTY_LOGPROBS:
        return {**found, "logprobs": []}
    if fault is Fault.NO_LOGPROBS:
        return {name: one for name, one in found.items() if name != "logprobs"}
    return found


def is_old(version: str) -> bool:
    """Say whether a server runs llama.cpp inside itself: before 0.30.

    >>> is_old("0.24.0"), is_old("0.32.15")
    (True, False)
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return (major, minor) < (0, 30)
