"""Rows of the label store and the records they stand for.

Apart from `storage.labels` because nothing here asks the database: values in, values out.
NumPy's numbers become plain ones on the way, since drivers refuse them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from storage.records import LabelFailure, LabelRequest, SoftLabel


def request_row(request: LabelRequest, number: int) -> dict[str, Any]:
    """Return the row of a request; `number` is its place in the category."""
    return {
        "category_id": int(request.category_id),
        "number": number,
        "key": request.key,
        "purpose": request.purpose,
        "user_number": int(request.user),
        "event": int(request.event),
        "history": [int(item) for item in request.history],
        "candidates": [int(item) for item in request.candidates],
        "target": int(request.target),
        "teacher": request.teacher,
        "method": request.method,
        "template": request.template,
        "shift": int(request.shift),
    }


def request_of(row: Row[Any]) -> LabelRequest:
    """Return the request a row stands for."""
    return LabelRequest(
        key=row.key,
        category_id=row.category_id,
        purpose=row.purpose,
        user=row.user_number,
        event=row.event,
        history=tuple(row.history),
        candidates=tuple(row.candidates),
        target=row.target,
        teacher=row.teacher,
        method=row.method,
        template=row.template,
        shift=row.shift,
    )


def label_row(label: SoftLabel) -> dict[str, Any]:
    """Return the row of an answer.

    >>> label_row(SoftLabel("k", (-1.5, -2), (3, 3), "ok", 1))["scores"]
    [-1.5, -2.0]
    """
    return {
        "key": label.key,
        "scores": [float(score) for score in label.scores],
        "tokens": [int(count) for count in label.tokens],
        "status": label.status,
        "seconds": float(label.seconds),
        "details": dict(label.details),
    }


def label_of(row: Row[Any]) -> SoftLabel:
    """Return the answer a row stands for."""
    return SoftLabel(
        row.key, tuple(row.scores), tuple(row.tokens), row.status, row.seconds, row.details
    )


def failure_row(failure: LabelFailure) -> dict[str, Any]:
    r"""Return the row of a failure. What its message holds that no database takes becomes '?'.

    >>> failure_row(LabelFailure("k", "2026", "error", "bad \ud800 byte \0", "gpu", 1))["message"]
    'bad ? byte ?'
    """
    message = failure.message.encode(errors="replace").decode().replace("\0", "?")
    return asdict(failure) | {"message": message, "seconds": float(failure.seconds)}


def failure_of(row: Row[Any]) -> LabelFailure:
    """Return the failure a row stands for."""
    return LabelFailure(row.key, row.at, row.status, row.message, row.host, row.seconds)
