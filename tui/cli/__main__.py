"""`python -m tui.cli`: the `recsys` command of this very interpreter."""

from __future__ import annotations

from tui.cli import main

if __name__ == "__main__":
    main()
