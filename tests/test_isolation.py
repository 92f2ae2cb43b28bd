"""The tests' own promises: nothing leaves this machine, nothing of the developer's is read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


def test_other_machines_are_out_of_reach() -> None:
    with socket.socket() as sock, pytest.raises(AssertionError, match="spoken to"):
        sock.connect(("192.0.2.1", 80))
    with pytest.raises(AssertionError, match=r"spoken to 'example\.org'"):
        socket.create_connection(("example.org", 80), timeout=1)


def test_this_machine_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def test_the_data_folder_is_the_tests_own(tmp_path: Path) -> None:
    assert Path(os.environ["RECSYS_HOME"]).is_relative_to(tmp_path)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
