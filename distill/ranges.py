"""Ranges of settings, checked before anything expensive: one sentence that names the setting.

Apart because every configuration has some, and a sentence that shows a whole configuration
helps nobody find the figure that is wrong.
"""

from __future__ import annotations

import math

from storage.errors import BadSetting


def require_range(
    record: object,
    *names: str,
    least: float | None = None,
    above: float | None = None,
    most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Refuse a field of a record that is outside a range; None is a field that says nothing.

    Raises:
        BadSetting: one is; no number and no infinity is inside of any range.

    >>> from types import SimpleNamespace
    >>> require_range(SimpleNamespace(epochs=2), "epochs", least=1)
    >>> require_range(SimpleNamespace(epochs=0), "epochs", least=1)
    Traceback (most recent call last):
    storage.errors.BadSetting: epochs = 0 is out of its range: at least 1
    """
    for name in names:
        value = getattr(record, name)
        if value is None:
            continue
        low = (least is None or value >= least) and (above is None or value > above)
        if low and value <= most and value < below:
            continue
        said = [
            *([] if least is None else [f"at least {least:g}"]),
            *([] if above is None else [f"above {above:g}"]),
            *([f"at most {most:g}"] if most < math.inf else []),
            *([f"below {below:g}"] if below < math.inf else []),
        ]
        raise BadSetting(f"{name} = {value!r} is out of its range: {' and '.join(said)}")
