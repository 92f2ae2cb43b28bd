"""How long a command takes from the shell's point of view, imports and all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from tests.cli import shop

TRIES = 7


def seconds(*arguments: str, home: Path) -> float:
    """Return the median wall time of a command, after one run that warms the disk."""
    taken = []
    for _ in range(TRIES + 1):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "tui.cli", *arguments],
            check=True,
            capture_output=True,
            env={**os.environ, "RECSYS_HOME": str(home)},
        )
        taken.append(time.perf_counter() - started)
    return median(taken[1:])


@pytest.mark.bench
def test_help_answers_at_once(tmp_path: Path) -> None:
    taken = seconds("--help", home=tmp_path)
    print(f"\nrecsys --help: {taken:.3f} s, allowed 0.4 s")
    assert taken < 0.4


@pytest.mark.bench
def test_a_student_answers_within_a_second(tmp_path: Path) -> None:
    shop.build(tmp_path)
    shop.add_student(tmp_path)
    taken = seconds("recommend", "--user", "u1", home=tmp_path)
    print(f"\nrecsys recommend --user u1: {taken:.3f} s, allowed 1 s")
    assert taken < 1.0
