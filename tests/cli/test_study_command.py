"""`recsys study`: what can be known to be wrong is said before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--output", "no/such/t.md"), "there is no folder 'no/such' to write 't.md' into; next: "),
        (("--output", "table.txt"), "'table.txt' is no .md file"),
    ],
)
def test_a_table_that_cannot_be_written_is_refused_first(
    run: Run, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    done = run("study", "layer-weights", *more)
    assert done.code == 1
    assert said in done.err
    assert len(done.err.splitlines()) == 1
