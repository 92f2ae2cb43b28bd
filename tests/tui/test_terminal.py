"""The app in a real terminal: tmux draws it, keys come in, and the terminal is given back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = ("100", "30")
PATIENCE = 30.0


class Terminal:
    """A tmux server of the test's own, with one window."""

    def __init__(self, folder: Path) -> None:
        self._tmux = [shutil.which("tmux") or "tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
        self._environment |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._run("new-session", "-d", "-x", SIZE[0], "-y", SIZE[1], "-c", str(folder), "sh")

    def type(self, line: str) -> None:
        self._run("send-keys", "-l", line)
        self._run("send-keys", "Enter")

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def shows(self, *texts: str) -> str:
        """Wait until the screen shows all of these, and return it."""
        until = time.monotonic() + PATIENCE
        screen = ""
        while time.monotonic() < until:
            screen = self._run("capture-pane", "-p")
            if all(text in screen for text in texts):
                return screen
            time.sleep(0.1)
        raise AssertionError(f"not shown in {PATIENCE:g} s: {texts}\n{screen}")

    def colours(self) -> list[tuple[int, int, int]]:
        """Every colour that is on the screen."""
        drawn = self._run("capture-pane", "-p", "-e")
        found = re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", drawn)
        assert not re.search(r"\x1b\[[349][1-6]m", drawn), "a colour by its number"
        return [(int(r), int(g), int(b)) for r, g, b in found]

    def state(self, *flags: str) -> list[str]:
        asked = " ".join(f"#{{{flag}}}" for flag in flags)
        return self._run("display-message", "-p", asked).split()

    def close(self) -> None:
        self._run("kill-server")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words], env=self._environment, capture_output=True, text=True, timeout=20
        )
        assert not done.returncode, done.stderr
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if not shutil.which("tmux"):
        if os.environ.get("CI") == "true":
            pytest.fail("tmux is not installed: .ci/run installs it")
        pytest.skip("tmux is not installed")
    opened = Terminal(tmp_path)
    yield opened
    opened.close()


def test_the_sample_in_a_real_terminal(terminal: Terminal, tmp_path: Path) -> None:
    recsys = f"{sys.executable} -m tui.cli"
    terminal.type(f"{recsys} data sample && stty -a > before")
    terminal.shows("next:")

    terminal.type(f"clear; {recsys} tui; echo left with $?")
    screen = terminal.shows("popularity", "1 ", "Electronics")
    assert "synthetic" in screen
    assert terminal.state("alternate_on") == ["1"]

    terminal.press("n")
    terminal.press("?")
    terminal.shows("Previous person")
    terminal.press("Escape")
    terminal.shows("popularity")  # before the next key: together they would be another one
    terminal.press("4")
    terminal.shows("Leaderboard")
    terminal.press("1")
    terminal.shows("popularity")

    terminal.press("q")
    terminal.shows("left with 0")
    terminal.type("stty -a > after")
    assert terminal.state("alternate_on", "cursor_flag", "mouse_any_flag") == ["0", "1", "0"]
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()


@pytest.mark.parametrize("without", [True, False], ids=["NO_COLOR", "in colour"])
def test_without_colours_there_are_none_and_nothing_is_missing(
    terminal: Terminal, tmp_path: Path, without: bool
) -> None:
    recsys = f"{sys.executable} -m tui.cli"
    terminal.type(f"{recsys} data sample")
    terminal.shows("next:")
    setting = "NO_COLOR=1 " if without else ""
    terminal.type(f"clear; {setting}COLORTERM=truecolor {recsys} tui; echo left with $?")
    terminal.shows("popularity", "1 ", "Electronics")
    grey = [len({*one}) == 1 for one in terminal.colours()]
    assert grey, "nothing is drawn in true colour, so nothing is seen of it"
    assert all(grey) == without
    terminal.press("q")
    terminal.shows("left with 0")
