"""The one root of every error whose text is written for the person who can mend it.

`tui.cli.main` prints these as one line on stderr and exits 1. Anything else that is
raised is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class RecsysError(Exception):
    """Something the user can mend: what happened, and the command that comes next.

    >>> str(RecsysError("no category 'Books'", next_step="recsys data list"))
    "no category 'Books'; next: recsys data list"
    """

    def __init__(self, what: str, *, next_step: str = "") -> None:
        """`what` names the thing and the fact; `next_step` is a command, or empty."""
        self.what = what
        self.next_step = next_step
        super().__init__(f"{what}; next: {next_step}" if next_step else what)


class UnknownName(RecsysError):
    """A user, item, category, run or model that is not there."""


class BadData(RecsysError):
    """A file or a log that cannot be used as it is."""


class BadSetting(RecsysError):
    """A flag, environment variable or settings file that cannot be used as it is."""


class StoreUnavailable(RecsysError):
    """The database or the artifact directory is locked, read-only, full or not ours."""


class StoreMissing(StoreUnavailable):
    """There is no database, and whoever asks is not to make one."""


class StoreRemoved(StoreMissing):
    """The database was there, and its file was removed while it was open."""


class ArtifactDamaged(RecsysError):
    """An artifact whose bytes are not those its manifest promises."""


class Offline(RecsysError):
    """Something would have to be fetched, and there is no way to fetch it."""


class TeacherUnfit(RecsysError):
    """The teacher is no better than chance, or cannot do what was asked of it."""


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the end of a sentence that says what could have been meant.

    >>> nearest("unifrom", ["uniform", "linear"]), nearest("x", ["uniform", "linear"])
    ("; did you mean 'uniform'?", ': uniform, linear')
    """
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f": {', '.join(known)}"
