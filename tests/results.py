"""Remakes the results of the README, study by study: `make results STUDY='layer-weights'`.

Goes on where it was stopped. Needs the data that lies beside the checkout, the embedded
models, and hours on two cores. What a study found is written into the README, between the two
marks of its name; without names, all that have marks there are made.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from distill.studies.files import read_study
from distill.studies.running import Studied, run_study
from distill.studies.tables import markdown
from recommender.config import Settings, resolve
from recommender.datasets import ImportFinished, import_data
from storage.store import Store
from tui.cli.progress import follow

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DATA = {"office-products": ROOT.parent / "shared" / "data" / "amazon-office-products-2018"}
"""What is imported from beside the checkout; MovieLens-100K is there after `make install`."""
_MARK = re.compile(r"<!-- study: ([\w-]+) -->")


def marks(name: str) -> tuple[str, str]:
    """What stands before and after the tables of a study.

    >>> marks("teaching")
    ('<!-- study: teaching -->', '<!-- end of study: teaching -->')
    """
    return f"<!-- study: {name} -->", f"<!-- end of study: {name} -->"


def placed(text: str, name: str, tables: str) -> str:
    """Put the tables of a study between its marks."""
    begin, end = marks(name)
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        sys.exit(f"error: the README has no marks of the study {name!r}: {begin} and {end}")
    return f"{before}{begin}\n{tables}\n{end}{after}"


def bring(store: Store, category: str) -> None:
    """Import the data of a study where it is missing."""
    if category in {one.name for one in store.catalogue.categories()} or category not in DATA:
        return
    folder = DATA[category]
    if not folder.is_dir():
        sys.exit(f"error: the data of {category!r} is not beside the checkout: ../shared/data")
    follow(import_data(store, folder, category=category), ImportFinished)


def remake(name: str, settings: Settings) -> None:
    """Run a study and write its tables into the README."""
    study = read_study(name, settings=settings)
    with Store.open(settings.db, settings.artifacts) as store:
        for category in study.data:
            bring(store, category)
        tables = markdown(follow(run_study(store, study, settings), Studied))
    README.write_text(placed(README.read_text("utf-8"), name, tables), encoding="utf-8")
    print(tables)


def main() -> None:
    """Remake the studies that are named, or all of the README."""
    settings = resolve().settings
    for name in sys.argv[1:] or _MARK.findall(README.read_text("utf-8")):
        remake(name, settings)


if __name__ == "__main__":
    main()
