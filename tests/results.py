"""Remakes the results of the README: `make results`. Goes on where it was stopped.

Needs the data that lies beside the checkout, the embedded models, and about an hour on two
cores. What it found is written into the README, between the two marks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from distill.config import DistilConfig
from distill.register import bounds
from distill.study import Studied, study, table
from recommender.config import Settings, resolve
from recommender.datasets import ImportFinished, import_data
from recommender.events import Event
from storage.store import Store
from tui.cli.progress import follow

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "amazon-office-products-2018"
CATEGORY = "office-products"
SEEDS = (0, 1, 2)
BEGIN, END = "<!-- results: make results -->", "<!-- end of results -->"


def configuration() -> DistilConfig:
    """What is studied: 1 + 14 candidates a request, Fisher over 64 of them."""
    return DistilConfig(CATEGORY).with_teacher(
        candidates=15, choose_requests=100, fisher_requests=64, requests=640
    )


def steps(store: Store, settings: Settings) -> Iterator[Event]:
    """Import the data where it is missing, and study it."""
    known = {category.name for category in store.catalogue.categories()}
    if CATEGORY not in known:
        for event in import_data(store, DATA, category=CATEGORY):
            if not isinstance(event, ImportFinished):
                yield event
    yield from study(store, configuration(), settings, SEEDS)


def written(found: Studied) -> str:
    """What the README says of it."""
    gate, profile = found.gate, found.taught.profile
    beside = ", ".join(f"{e.name} {e.table['mrr'].value:.3f}" for e in gate.others)
    mrr = gate.teacher.table["mrr"]
    lines = [
        table(found),
        "",
        f"Teacher at the gate: scoring by {found.chosen.scoring.way}, MRR {mrr.value:.3f} "
        f"{bounds(mrr, '.3f')} on {mrr.n} validation requests with 1 + 14 candidates "
        f"({beside}, chance {gate.chance:.3f}), calibration error "
        f"{gate.calibration_error:.3f}; {len(found.taught.asked.requests):,} training requests.",
    ]
    if profile is not None:
        ratio = [float(str(profile.details[n])) for n in ("ratio", "ratio_low", "ratio_high")]
        lines += [
            "",
            f"Layer Fisher of the teacher over {profile.requests} requests: the last quarter of "
            f"its layers has {ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}] times the Fisher "
            "information of the first.",
        ]
    return "\n".join(lines)


def main() -> None:
    """Run the study and write its tables into the README."""
    if not DATA.is_dir():
        sys.exit("error: the data of `make results` is not beside the checkout: ../shared/data")
    settings = resolve().settings
    with Store.open(settings.db, settings.artifacts) as store:
        found = follow(steps(store, settings), Studied)
    text = written(found)
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
