"""A training as a process of its own, to be killed.

`python -m tests.distill.language.training_job LLAMA CHECKPOINT RESULT` says each step that is
done, and writes the result when all are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from distill.language.loop import Fitted, LoopConfig, fit
from distill.training import StepDone
from tests.distill.language.classroom import learner
from tests.tiny import open_llama

CONFIG = LoopConfig(
    steps=12, learning_rate=5e-3, evaluate_every=3, seed=3, accumulate=2, checkpoint_seconds=0.0
)


def main(llama: str, checkpoint: str, result: str) -> None:
    """Go on from where the checkpoint stands to the end."""
    torch.set_num_threads(1)
    task = learner(open_llama(Path(llama)))
    for event in fit(task, CONFIG, checkpoint=Path(checkpoint)):
        if isinstance(event, StepDone):
            print(event.step, event.loss.hex(), flush=True)
        if isinstance(event, Fitted):
            about = {
                "history": json.dumps([list(map(float.hex, map(float, r))) for r in event.history])
            }
            save_file(dict(event.best), result, metadata=about)


if __name__ == "__main__":
    main(*sys.argv[1:])
