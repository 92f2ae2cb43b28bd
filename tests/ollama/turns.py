"""`/api/generate` and `/api/chat` of `Serving`: one question, answered whole or line by line."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.ollama.answering import Answer, Form, Run, Sampler, freely, ranking, schema_form
from tests.ollama.faults import CRASH, Fault, is_old, spoiled
from tests.ollama.loopback import JSON, NDJSON, Reply, dumped
from tests.ollama.questions import Question, Refusal, bad_schema, fitted, read

if TYPE_CHECKING:
    from tests.ollama.serving import Serving

LINES_BEFORE = 2
"""Lines of a stream before it breaks."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with its answer under way."""

    question: Question
    prompt: list[int]
    answer: Answer
    began: int
    """Nanoseconds of the clock, as the two that follow."""
    load: int
    read_at: int
    until: float
    """Not before this second of the clock does the answer end."""

    def figures(self, *, old: bool) -> dict[str, Any]:
        """Return what the last line says of the answer."""
        now = time.perf_counter_ns()
        made = self.answer.made
        found: dict[str, Any] = {"done_reason": self.answer.reason}
        if not self.question.chat and not self.question.fields.get("raw"):
            found["context"] = [*self.prompt, *self.answer.numbers]
        found |= {
            "total_duration": now - self.began,
            "load_duration": self.load,
            "prompt_eval_count": len(self.prompt),
            "prompt_eval_duration": self.read_at - self.began - self.load,
            "eval_count": made,
        }
        # The first token comes with the prompt: no time on old servers, and zeros are left out.
        if made > 1 or not old:
            found["eval_duration"] = now - self.read_at if made > 1 else 1000
        return found


def ask(
    serving: Serving, fields: dict[str, Any], reply: Reply, fault: Fault | None, *, chat: bool
) -> None:
    """Answer a question.

    Raises:
        Refusal: it is not right, or the model cannot.
    """
    began = time.perf_counter_ns()
    model = serving.known(fields)
    if "completion" not in serving.capabilities:
        raise Refusal(400, f'"{model}" does not support {"chat" if chat else "generate"}')
    thinks = "thinking" in serving.capabilities
    question = read(fields, chat=chat, thinks=thinks, context=serving.speaker.context)
    load = serving.load(question)
    if question.only_loads:
        reason = "unload" if question.unloads else "load"
        reply.json(200, line(question, "", done=True) | {"done_reason": reason})
        return
    if fields.get("_debug_render_only") and serving.debug_render:
        empty = {"message": {"role": "", "content": ""}} if chat else {}
        shown = {"_debug_info": {"rendered_template": question.text(serving.template)}}
        reply.json(200, line(question, "") | empty | shown)
        return
    with serving.slots.taken(reply):
        until = time.perf_counter() + serving.answer_seconds
        tokens = serving.speaker.tokens(question.text(serving.template))
        prompt = fitted(question, tokens, serving.version)
        answer = _answer(serving, question, prompt, fault)
        turn = Turn(question, prompt, answer, began, load, time.perf_counter_ns(), until)
        say = _stream if question.streams else _whole
        say(turn, reply, fault, old=is_old(serving.version))
    if question.unloads:
        serving.unload()


def line(question: Question, text: str, *, done: bool = False) -> dict[str, Any]:
    """Return what every line of an answer has."""
    said: dict[str, Any] = {"response": text}
    if question.chat:
        said = {"message": {"role": "assistant", "content": text}}
    return {"model": question.model, "created_at": now(), **said, "done": done}


def now() -> str:
    """Return this moment as Go writes it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def _answer(serving: Serving, question: Question, prompt: list[int], fault: Fault | None) -> Answer:
    options = question.options
    asked = question.fields.get("format")
    form = _form(asked, serving.version) if asked else None
    run = Run(serving.speaker, prompt)
    if fault is Fault.END_FIRST:
        steps = iter([(min(serving.speaker.endings), run.next)])
    elif form is None:
        temperature = float(options.get("temperature", 0.8))
        penalty = float(options.get("repeat_penalty", 1.1 if is_old(serving.version) else 1.0))
        steps = freely(run, Sampler(temperature, int(options.get("seed", -1)), penalty))
    else:
        steps = ranking(run, form, spoil=fault is Fault.REPEATED_LETTER)
    return Answer(
        serving.speaker,
        steps,
        limit=min(question.limit, max(1, question.num_ctx - len(prompt))),
        stops=options.get("stop", serving.template.stops),
        top=question.top if serving.knows_logprobs else None,
        repeats=serving.repeats,
    )


def _form(asked: Any, version: str) -> Form:
    if asked == "json":
        return {}
    if isinstance(asked, str):
        quoted = f'"\\"{asked}\\""'
        raise Refusal(
            500, f'invalid format: {quoted}; expected "json" or a valid JSON Schema object'
        )
    try:
        return schema_form(asked)
    except ValueError as error:
        raise bad_schema(error.args[0], version) from error


def _whole(turn: Turn, reply: Reply, fault: Fault | None, *, old: bool) -> None:
    said, entries = "", []
    for text, several in turn.answer:
        said += text
        entries += several
        reply.look()
    reply.wait(turn.until - time.perf_counter())
    found = line(turn.question, said, done=True) | turn.figures(old=old)
    found |= {"logprobs": entries} if entries else {}
    unfinished = Fault.NOT_DONE if not turn.answer.reason else fault
    found = spoiled(unfinished, found, turn.question.num_ctx)
    if fault is Fault.HALF_JSON:
        reply.half(200, dumped(found), {"content-type": JSON})
    else:
        reply.json(200, found)


def _stream(turn: Turn, reply: Reply, fault: Fault | None, *, old: bool) -> None:
    def say(found: dict[str, Any]) -> None:
        reply.chunk(dumped(found) + b"\n")

    reply.start(200, {"content-type": NDJSON})
    breaks = fault in (Fault.CUT_STREAM, Fault.DIES_MID_STREAM)
    for number, (text, entries) in enumerate(turn.answer):
        if breaks and number == LINES_BEFORE:
            break
        found = line(turn.question, text) | ({"logprobs": entries} if entries else {})
        say(spoiled(fault, found, 0))
        reply.look()
    if fault is Fault.CUT_STREAM:
        reply.cut()
        return
    reply.wait(turn.until - time.perf_counter())
    if fault is Fault.DIES_MID_STREAM:
        say({"error": CRASH})
    elif turn.answer.reason:
        say(line(turn.question, "", done=True) | turn.figures(old=old))
    reply.end()
