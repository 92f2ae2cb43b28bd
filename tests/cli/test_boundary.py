"""Exit codes, one line on stderr, and silence when the reader has gone: as a shell sees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.errors import RecsysError
from tests.cli.conftest import Run
from tui import cli


def test_help_says_what_there_is(recsys: Run) -> None:
    done = recsys("--help")
    assert done.code == 0
    for command in ("data", "models", "distill", "recommend", "evaluate", "runs", "doctor", "demo"):
        assert f"\n  {command} " in done.out
    assert done.err == ""


def test_without_a_command_help_is_shown(run: Run) -> None:
    done = run()
    assert done.code == 2
    assert "Usage: recsys" in done.out + done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("data", "list", "--nope"),
        ("recommend", "--user", "1", "--top-k", "0"),
        ("recommend", "--top-k", "3"),
        ("recommend", "--user", "1", "--history", "a"),
        ("distill", "--category", "x", "--split", "random"),
        ("distill",),
        ("data", "import", "x.csv", "--category", "x", "--columns", "user"),
    ],
)
def test_wrong_usage_exits_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert "Error: " in done.err
    assert done.out == ""


def test_a_mistyped_command_names_the_nearest(run: Run) -> None:
    assert "Did you mean 'recommend'?" in run("recomend").err


def test_the_users_error_is_one_line_with_the_next_command(recsys: Run) -> None:
    done = recsys("doctor", RECSYS_DEVICE="gpu")
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("error: device = 'gpu' (environment RECSYS_DEVICE)")
    assert len(done.err.splitlines()) == 1


def test_foreign_text_in_an_error_is_harmless(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_flags: object) -> object:
        raise RecsysError("no item '\x1b[2J[bold]x\nsecond line'", next_step="recsys data list")

    monkeypatch.setattr("tui.cli.options.resolved", fail)
    done = run("data", "list")
    assert done.code == 1
    assert done.err == "error: no item '[bold]x second line'; next: recsys data list\n"


def test_a_bug_of_ours_keeps_its_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_flags: object) -> object:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("tui.cli.options.resolved", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(["data", "list"])


def test_ctrl_c_says_one_sentence_and_exits_with_130(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(**_flags: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("tui.cli.options.resolved", stop)
    done = run("data", "list")
    assert done.code == 130
    assert done.err == f"{cli.STOPPED}\n"


def test_ctrl_c_reaches_a_running_process(home: Path) -> None:
    # A real signal, while the command waits for a named pipe to be written to.
    home.mkdir()
    pipe = home / "settings.toml"
    os.mkfifo(pipe)
    code = "import pathlib; pathlib.Path.is_file = lambda path: True; import tui.cli as c; c.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "doctor", "--settings"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RECSYS_CONFIG": str(pipe)},
        # A shell's background jobs ignore Ctrl-C, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        writer = _when_read(pipe)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        os.close(writer)
    assert process.returncode == 130
    assert err == f"{cli.STOPPED}\n"


def _when_read(pipe: Path) -> int:
    """Open a named pipe for writing as soon as somebody reads it."""
    for _ in range(600):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.1)
    raise AssertionError("the command never asked for its settings")


def test_a_reader_that_has_gone_is_no_error(home: Path) -> None:
    command = f"{sys.executable} -m tui.cli doctor --settings | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", f"sleep 0; {command}"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.stderr == ""
    assert done.stdout.strip() in {"0", "1"}


def test_settings_are_shown_with_their_origin(run: Run, home: Path) -> None:
    Path("recsys.toml").write_text("seed = 7\n")
    done = run("doctor", "--settings")
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert lines["seed"].endswith("recsys.toml")
    assert lines["data_dir"].endswith("environment RECSYS_HOME")
    assert lines["device"].split() == ["device", "auto", "default"]


def test_a_misspelt_variable_is_mentioned(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEACHR", "x")
    assert "RECSYS_TEACHR" in run("doctor", "--settings").err


def test_nothing_is_made_by_looking(run: Run, home: Path) -> None:
    run("doctor", "--settings")
    assert not home.exists()
