"""What every backend and every ranker promises, as tests that a class of your own is held to.

    from recommender.contracts import BackendContract

    class TestMine(BackendContract):
        def backend(self) -> Backend:
            return MyBackend()

pytest runs them, and is not imported here. `backend()` is called anew by every test: keep what is
dear to open. In this repository every backend and ranker of ours is held to the same classes.
"""

from __future__ import annotations

from recommender.contracts.backends import BackendContract as BackendContract
from recommender.contracts.rankers import RankerContract as RankerContract
