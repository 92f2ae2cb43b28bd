"""A student that answers: from its artifact, by onnxruntime, without torch.

Apart from the network because this is what runs a thousand times for each time a student is
trained, in a command that must answer at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors
from safetensors import SafetensorError
from safetensors.numpy import load_file

from recommender.ranking import Ranking, rank_from_scores
from recommender.sequential.shape import pad
from storage.errors import ArtifactDamaged
from storage.records import FloatArray, IntArray


class StudentRanker:
    """Ranks the items it was trained on; newer ones it leaves out, and counts."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        about: Mapping[str, object],
        popularity: IntArray,
        *,
        catalogue: int | None = None,
        name: str = "student",
    ) -> None:
        """`catalogue` is how many items the shop has now; None means those of the training."""
        self.name = name
        self.about = about
        self._session = session
        self._items = len(popularity)
        self._popularity = popularity.astype(np.float32) - np.float32(popularity.max(initial=0) + 1)
        self._max_len = int(about["network"]["max_len"])  # type: ignore[index]
        self._unknown = max(0, (catalogue or self._items) - self._items)

    @classmethod
    def open(
        cls, directory: Path | str, *, catalogue: int | None = None, name: str = "student"
    ) -> StudentRanker:
        """Open a student's artifact.

        Raises:
            ArtifactDamaged: a file is missing or not what it should be.
        """
        folder = Path(directory)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            about = json.loads((folder / "student.json").read_text(encoding="utf-8"))
            popularity = load_file(folder / "popularity.safetensors")["count"]
            session = onnxruntime.InferenceSession(
                str(folder / "student.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except (
            OSError,
            ValueError,
            KeyError,
            SafetensorError,
            onnx_errors.Fail,
            onnx_errors.InvalidGraph,
            onnx_errors.InvalidProtobuf,
            onnx_errors.NoSuchFile,
        ) as error:
            raise ArtifactDamaged(
                f"the student in {str(folder)!r} cannot be read: {type(error).__name__}",
                next_step="recsys doctor --repair",
            ) from error
        # The first run of a session sets up its memory: part of opening, not of an answer.
        session.run(None, {"ids": np.zeros((1, 1), dtype=np.int64)})
        return cls(session, about, popularity, catalogue=catalogue, name=name)

    @property
    def items(self) -> int:
        """How many items it was trained on: it scores the numbers below this."""
        return self._items

    def score(self, histories: Sequence[IntArray]) -> FloatArray:
        """Return (histories, items) scores.

        Items it does not know are passed over in a history. A history without any item it
        knows is answered by popularity, in scores below zero: nothing personal can be said.
        """
        known = [history[history < self._items] for history in histories]
        ids = pad(known, self._max_len)
        scores: FloatArray = self._session.run(None, {"ids": ids})[0]
        empty = [row for row, history in enumerate(known) if not len(history)]
        if empty:
            scores[empty] = self._popularity
        return scores

    def rank(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Ranking:
        """Return the best `n` it knows; `left_out` counts the items it does not.

        A history without any item it knows is answered by popularity, and the name of the
        ranking says so.
        """
        personal = bool((history < self._items).any())
        return rank_from_scores(
            self.score([history])[0],
            history,
            name=self.name if personal else f"{self.name} (by popularity: history unknown)",
            candidates=candidates,
            n=n,
            left_out=0 if candidates is not None else self._unknown,
        )
