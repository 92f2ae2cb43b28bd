"""What `recsys doctor` looks at: each check says what it found, and what to do about it.

Nothing here mends anything; what is damaged is named, and the caller decides.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from recommender.check import Check
from recommender.config import Settings
from recommender.models import known_models
from storage.errors import ArtifactDamaged, RecsysError, StoreMissing

if TYPE_CHECKING:
    from storage.store import Store

LEAST_FREE = 2_000_000_000
"""Bytes that a distillation of a public set may need beside the data."""

OLDEST_PYTHON = (3, 11)


def checks(settings: Settings) -> Iterator[Check]:
    """Look at everything outside the Store, one check at a time."""
    yield check_python()
    yield check_torch(settings)
    yield check_threads(settings)
    yield check_disk(settings.data_dir)
    yield from check_models(settings.models)
    # Imported here: the HTTP client is of no use to the checks before this one.
    from recommender.server_health import check_servers

    yield from check_servers(settings)


def check_python() -> Check:
    """Check the interpreter's version.

    >>> check_python().state
    'good'
    """
    says = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "bad", says, "install Python 3.11 or newer, then make install")
    return Check("python", "good", says)


def check_torch(settings: Settings) -> Check:
    """Check that torch is there and has the device that the settings ask for."""
    try:
        found = version("torch")
    except PackageNotFoundError:
        says = "not installed: students can be served, nothing can be distilled"
        return Check("torch", "absent", says, "make install, or pip install 'recsys[ml]'")
    # Imported here: it loads torch, which serving a student does not need.
    from recommender.backends.weights import choose_device, choose_precision

    try:
        device = choose_device(settings.device)
        precision = choose_precision(settings.precision, device)
    except RecsysError as error:
        return Check("torch", "bad", f"{found}: {error.what}", error.next_step)
    return Check("torch", "good", f"{found} on {device} in {precision}")


def check_threads(settings: Settings) -> Check:
    """Check that the threads asked for are not more than the cores.

    >>> check_threads(Settings(data_dir=Path("shop"), threads=1)).state
    'good'
    """
    cores = os.cpu_count() or 1
    says = f"{settings.threads or 'as torch chooses'}, {cores} cores"
    if settings.threads > cores:
        return Check("threads", "bad", says, f"set threads to {cores} or fewer")
    return Check("threads", "good", says)


def check_disk(folder: Path) -> Check:
    """Check that the data folder, or its nearest parent that exists, has room and can be written.

    >>> check_disk(Path("/")).name
    'disk'
    """
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    says = f"{free / 1e9:.1f} GB free for {folder}"
    if not os.access(place, os.W_OK):
        return Check(
            "disk", "bad", f"{place} cannot be written", "set RECSYS_HOME to a folder of yours"
        )
    if free < LEAST_FREE:
        return Check(
            "disk", "bad", says, f"free {LEAST_FREE / 1e9:.0f} GB, or set RECSYS_HOME elsewhere"
        )
    return Check("disk", "good", says)


def check_models(models: Path) -> Iterator[Check]:
    """Check that the embedded models are there, and that the registered ones still are.

    >>> [check.state for check in check_models(Path("nowhere"))]
    ['absent', 'absent']
    """
    for model in known_models(models):
        name = f"{model.kind} {model.name}"
        if model.present is False and model.about == "registered":
            step = f"recsys models add PATH --name {model.name}"
            yield Check(name, "bad", f"{model.spec} is gone", step)
        elif model.present is False:
            yield Check(name, "absent", "not fetched", "recsys models fetch")
        else:
            yield Check(name, "good", model.spec)


def check_store(settings: Settings, *, repair: bool = False) -> Iterator[Check]:
    """Open the database, verify every byte of every artifact; `repair` removes what is damaged."""
    # Imported here: the database library is of no use to the checks before this one.
    from storage.migrations import HEAD
    from storage.store import Store

    try:
        with Store.open(settings.db, settings.artifacts, create=False) as store:
            categories = len(store.catalogue.categories())
            says = f"{settings.db}, categories: {categories}, schema {HEAD}"
            yield Check("database", "good", says)
            yield from _artifacts(store, repair=repair)
    except StoreMissing as error:
        yield Check("database", "absent", error.what, "recsys data sample, or another --db")
    except RecsysError as error:
        yield Check("database", "bad", error.what, error.next_step or "recsys doctor --settings")


def _artifacts(store: Store, *, repair: bool) -> Iterator[Check]:
    whole = 0
    keys = list(store.artifacts.keys())
    for key in keys:
        try:
            store.artifacts.open(key, verify="full")
            whole += 1
        except ArtifactDamaged as error:
            if repair:
                store.artifacts.remove(key)
                yield Check("artifact", "good", f"{key} was damaged and is removed")
            else:
                yield Check("artifact", "bad", error.what, "recsys doctor --repair")
    yield Check("artifacts", "good", f"{whole} are whole")
    damaged = store.layers.damaged()
    if damaged and repair:
        store.layers.remove(damaged)
        said = f"{len(damaged)} were damaged and are removed: they will be measured again"
        yield Check("layer values", "good", said)
    elif damaged:
        said = f"{len(damaged)} cannot be read, the first is {damaged[0]}"
        yield Check("layer values", "bad", said, "recsys doctor --repair")
    there = set(store.artifacts.keys())
    names = {category.id: category.name for category in store.catalogue.categories()}
    for run in store.runs.list():
        if run.artifact and run.artifact not in there:
            again = f"recsys distill --category {names.get(run.category_id, '')}"
            yield Check("run", "absent", f"{run.id} has lost its student", again)
