"""The format in which answers travel: JSON Lines, a header first, then one answer a line.

Apart from reading and writing the Store because a line comes from outside and may be anything.
People and items go by the ids of their source: numbers and rows belong to one import.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    ValidationError,
    model_validator,
)

from storage.errors import BadData
from storage.label_records import Status
from storage.records import Category, LabelRequest, SoftLabel

FORMAT = 1
"""Version of the format; a reader knows its own and no later one."""
MARK = "recsys_labels"

Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Count = Annotated[int, Field(ge=0)]


class BadLine(ValueError):
    """A line that cannot be used, and why."""


class LabelLine(BaseModel):
    """One line: a request with its answer. What is not said here is as in their records."""

    model_config = ConfigDict(frozen=True, strict=True)

    key: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    purpose: Name
    user: Text
    """Id of the person."""
    history: list[Text]
    """Ids of items."""
    candidates: list[Text]
    """Ids of items."""
    target: int
    in_log: bool
    """Whether the target is a row of the person's log: which one is found again."""
    teacher: Name
    method: Name
    template: Text
    shift: Count
    scores: list[FiniteFloat]
    tokens: list[Count]
    status: Status
    seconds: FiniteFloat
    details: dict[str, JsonValue]

    @model_validator(mode="after")
    def _fits(self) -> LabelLine:
        count = len(self.candidates)
        for name in ("scores", "tokens"):
            if (found := len(getattr(self, name))) != count:
                raise ValueError(f"{found} {name} for {count} candidates")
        if not -1 <= self.target < count:
            raise ValueError(f"target {self.target} of {count} candidates")
        if self.shift >= max(count, 1):
            raise ValueError(f"shift {self.shift} of {count} candidates")
        return self


def header_line(category: Category) -> str:
    """Return the first line: what follows, and of which data."""
    return _json({MARK: FORMAT, "category": category.name, "digest": category.digest})


def check_header(line: str | bytes) -> None:
    """Accept the first line of a file of labels.

    Raises:
        BadData: it is no such file, or one of a newer version.

    >>> check_header("user,item,rating")
    Traceback (most recent call last):
    storage.errors.BadData: these are no labels: the first line is not {"recsys_labels": 1, …}
    """
    try:
        found = json.loads(line)
        version = found[MARK]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        version = None
    if type(version) is not int or version < 1:
        raise BadData(f'these are no labels: the first line is not {{"{MARK}": {FORMAT}, …}}')
    if version > FORMAT:
        raise BadData(
            f"these labels were written by a newer recsys: their format is {version}, and this "
            f"one knows {FORMAT}",
            next_step="install the newer recsys",
        )


def write_line(
    request: LabelRequest, answer: SoftLabel, people: dict[int, str], things: dict[int, str]
) -> str:
    """Return the line of a request with its answer.

    Args:
        request: what was asked.
        answer: what came back.
        people: ids by number.
        things: ids of items by number.

    >>> request = LabelRequest("k", 1, "train", 0, 5, (1,), (2,), 0, "smol", "letters", "7")
    >>> answer = SoftLabel("k", (-0.5,), (1,), "ok", 0.25)
    >>> print(write_line(request, answer, {0: "ann"}, {1: "ink", 2: "pen"})[:70])
    {"key":"k","purpose":"train","user":"ann","history":["ink"],"candidate
    """
    return _json(
        {
            "key": request.key,
            "purpose": request.purpose,
            "user": people[request.user],
            "history": [things[item] for item in request.history],
            "candidates": [things[item] for item in request.candidates],
            "target": request.target,
            "in_log": request.event >= 0,
            "teacher": request.teacher,
            "method": request.method,
            "template": request.template,
            "shift": request.shift,
            "scores": answer.scores,
            "tokens": answer.tokens,
            "status": answer.status,
            "seconds": answer.seconds,
            "details": answer.details,
        }
    )


def read_line(line: str | bytes) -> LabelLine:
    """Read a line.

    Raises:
        BadLine: it is no JSON, or not of this shape.

    >>> read_line('{"key":"k","purpose":"tr')
    Traceback (most recent call last):
    storage.label_lines.BadLine: it is not JSON
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine("it is not JSON") from error
    try:
        return LabelLine.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"][:2]))
        said = first["msg"].removeprefix("Value error, ")
        raise BadLine(f"{place}: {said}" if place else said) from error


def _json(value: object) -> str:
    # Only ASCII: the line survives every encoding, and no id holds what ends a line somewhere.
    return json.dumps(value, separators=(",", ":"))
