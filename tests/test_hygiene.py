"""What must not be loaded, and which way imports point. A subprocess, because the static
graph cannot see whether a deferred import is really deferred."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "textual", "sqlalchemy", "alembic", "pandas", "pyarrow", "httpx")
TORCH_FREE = (
    "storage.records",
    "storage.errors",
    "recommender.config",
    "recommender.events",
    "recommender.models",
    "recommender.splits",
    "recommender.metrics",
    "recommender.baselines",
    "recommender.candidates",
    "recommender.evaluation",
    "recommender.statistics",
    "recommender.embeddings",
    "recommender.sequential.student",
    "distill.config",
)


def loaded_by(program: str, *names: str) -> set[str]:
    """Return which of the named packages a program has loaded when it ends."""
    code = f"{program}\nimport sys\nprint(*(n for n in {names!r} if n in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split("\n")[-2].split())


HELP = """
from tui.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    assert stop.code == 0
"""


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by(HELP, *HEAVY, "numpy", "rich", "pydantic") == set()


def test_what_needs_no_network_is_imported_without_torch() -> None:
    # One process for all of them: the assertion inside names the first that loads it.
    program = f"""
import importlib, sys
for module in {TORCH_FREE!r}:
    importlib.import_module(module)
    assert "torch" not in sys.modules, module
"""
    assert loaded_by(program, "torch", "transformers", "textual", "typer") == set()


def test_settings_are_resolved_without_the_database() -> None:
    program = "from recommender.config import resolve; resolve()"
    assert loaded_by(program, *HEAVY, "numpy") == set()


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


def test_no_module_is_over_400_lines() -> None:
    packages = ("storage", "recommender", "distill", "tui")
    modules = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert modules
    long = {str(m): n for m in modules if (n := len(m.read_text().splitlines())) > 400}
    assert long == {}


def test_everything_that_is_required_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    for text in required:
        requirement = Requirement(text)
        release = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(release), text
    assert f"torch=={pinned['torch']}" in (ROOT / "Makefile").read_text()
