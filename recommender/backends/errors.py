"""What can go wrong with a model that is asked, and whether asking again can help.

BackendError
├── ServerDown        nobody answers at the address                        (Offline)
├── ModelMissing      the server does not have the model                   (UnknownName)
├── ContextTooSmall   the prompt does not fit                              (BadSetting)
├── OutOfMemory       the model does not fit into memory
├── CannotTeach       thinking-only, too old a server, an embedding model  (TeacherUnfit)
├── Refused           any other request the server will not take           (BadSetting)
└── Transient         asking again can help
    ├── Busy          the queue is full
    ├── Died          the model's process ended; the next request loads it again
    ├── Lost          the connection was refused, reset or closed
    ├── Cut           half an answer, or one that never said it was done
    └── TooSlow       no answer in time
"""

from __future__ import annotations

from typing import ClassVar

from storage.errors import BadSetting, Offline, RecsysError, TeacherUnfit, UnknownName


class BackendError(RecsysError):
    """A model could not be asked, or did not answer."""

    status: ClassVar[str] = "error"
    """What the Store keeps of the failed attempt."""


class ServerDown(BackendError, Offline):
    """Nobody answers at the address, or somebody else does."""


class ModelMissing(BackendError, UnknownName):
    """The server does not have the model."""


class ContextTooSmall(BackendError, BadSetting):
    """The prompt has more tokens than the model is given room for."""

    def __init__(self, what: str, *, next_step: str = "", needed: int = 0, given: int = 0) -> None:
        """Keep how many tokens were `needed` and `given`; 0 where the server does not say."""
        super().__init__(what, next_step=next_step)
        self.needed, self.given = needed, given


class OutOfMemory(BackendError):
    """The model does not fit into this machine's memory."""


class CannotTeach(BackendError, TeacherUnfit):
    """The model or its server lacks what a teacher needs."""


class Refused(BackendError, BadSetting):
    """The server will not take the request, and will not take it the next time either."""


class Transient(BackendError):
    """Asking again can help."""


class Busy(Transient):
    """The server's queue is full."""


class Died(Transient):
    """The model's process ended in the middle of it."""


class Lost(Transient):
    """The connection was refused, reset or closed."""


class Cut(Transient):
    """Half an answer, or one that never said it was done."""


class TooSlow(Transient):
    """No answer in time."""

    status: ClassVar[str] = "timeout"
