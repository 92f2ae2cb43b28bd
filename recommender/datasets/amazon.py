"""Amazon: Review Data 2018 as two CSV files, and Reviews 2023 in each published form.

The 2018 files have `position` and `part` instead of times: see `open_2018`.
"""

from __future__ import annotations

from pathlib import Path

from recommender.datasets.delimited import DelimitedSource, Layout, Spec
from recommender.datasets.files import DataFile, find
from storage.errors import BadData
from storage.records import NO_PART

OFFICE = Spec(
    format="amazon-2018",
    layout=Layout(),
    columns={"user": "user_id", "item": "item_id", "order": "position", "part": "part"},
    item_columns={
        "id": "item_id",
        "title": "title",
        "brand": "brand",
        "description": "description",
    },
    note="Amazon Review Data 2018, McAuley Lab, UCSD: published for research",
)


def open_2018(path: Path, *, items: Path | None, strict: bool) -> DelimitedSource:
    """Open `interactions.csv` with `items.csv` beside it, in a folder or named itself.

    Raises:
        BadData: the log is not there.
    """
    log = find(path, "interactions.csv")
    if log is None:
        raise BadData(f"{str(path)!r} holds no 'interactions.csv', which amazon-2018 has")
    catalogue = DataFile(items) if items else find(path, "items.csv")
    return DelimitedSource(
        OFFICE, [(log, NO_PART)], [catalogue] if catalogue else [], strict=strict
    )
