"""RecBole's SASRec on a prepared data set: a line of JSON after each epoch. Runs in its own env.

Imports nothing of ours, since the environment has nothing of ours. What RecBole 1.2.1 needs of
older libraries is put back before it is imported: names that NumPy dropped, and `ray.tune`,
which it loads for a search that nobody asks for.

    python theirs.py FOLDER SECONDS
"""

import contextlib
import json
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

for name, kind in (("float", float), ("int", int), ("bool", bool), ("object", object)):
    if name not in np.__dict__:
        setattr(np, name, kind)
sys.modules["ray"] = types.ModuleType("ray")
sys.modules["ray.tune"] = sys.modules["ray"].tune = types.ModuleType("ray.tune")

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.model.sequential_recommender import SASRec  # noqa: E402
from recbole.trainer import Trainer  # noqa: E402
from recbole.utils import init_seed  # noqa: E402

NAME = "log"


class OutOfTime(Exception):
    """The time is over."""


def settings(folder: Path, shape: dict, threads: int) -> Config:
    """The sizes, the loss, the split and the batches that both have, the rest as RecBole has it."""
    torch.set_num_threads(threads)
    given = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": shape["max_len"],
        "n_layers": shape["blocks"],
        "n_heads": shape["heads"],
        "hidden_size": shape["width"],
        "inner_size": shape["inner"],
        "hidden_dropout_prob": shape["dropout"],
        "attn_dropout_prob": shape["dropout"],
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "learning_rate": shape["learning_rate"],
        "train_batch_size": shape["rows"],
        "epochs": shape["epochs"],
        "stopping_step": shape["patience"],
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": "full",
        },
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "seed": shape["seed"],
        "use_gpu": False,
        "show_progress": False,
        "state": "WARNING",
    }
    argv, sys.argv = sys.argv, sys.argv[:1]  # which it would read
    found = Config(model="SASRec", dataset=NAME, config_dict=given)
    sys.argv = argv
    return found


def judge(model, dataset, requests: dict, length: int) -> float:
    """NDCG@10 as ours is: the full catalogue, all of a history masked, ties against the model."""
    numbers = [
        [dataset.token2id("item_id", str(item)) for item in history]
        for history in requests["histories"]
    ]
    targets = [dataset.token2id("item_id", str(item)) for item in requests["targets"]]
    gains = []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(numbers), 256):
            some = numbers[start : start + 256]
            ids = torch.zeros(len(some), length, dtype=torch.long)
            for row, history in enumerate(some):
                kept = history[-length:]
                ids[row, : len(kept)] = torch.tensor(kept)
            lengths = torch.tensor([min(len(history), length) for history in some])
            scores = model(ids, lengths) @ model.item_embedding.weight.T
            scores[:, 0] = -torch.inf
            for row, history in enumerate(some):
                target = targets[start + row]
                own = scores[row, target].item()
                scores[row, history] = -torch.inf
                scores[row, target] = -torch.inf
                rank = 1 + int((scores[row] >= own).sum())
                gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
    model.train()
    return float(np.mean(gains))


def main() -> None:
    """Train until the time is over; `shape.json`, `requests.json` and the log are in the folder."""
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    shape = json.loads((folder / "shape.json").read_text())
    requests = json.loads((folder / "requests.json").read_text())
    config = settings(folder, shape, shape["threads"])
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, _ = data_preparation(config, dataset)
    model = SASRec(config, train.dataset).to(config["device"])
    trainer = Trainer(config, model)
    rows = len(train.dataset)
    begun = time.perf_counter()
    judging = 0.0

    def told(epoch: int, score: float) -> None:
        nonlocal judging
        spent = time.perf_counter() - begun - judging
        before = time.perf_counter()
        same = judge(model, dataset, requests, shape["max_len"])
        judging += time.perf_counter() - before  # ours, beside its own: not counted
        said = {"epoch": epoch + 1, "seconds": spent, "ndcg": same, "own": score, "rows": rows}
        print(json.dumps(said), flush=True)
        if spent > seconds:
            raise OutOfTime

    with contextlib.suppress(OutOfTime):
        trainer.fit(train, valid, saved=False, show_progress=False, callback_fn=told)


if __name__ == "__main__":
    main()
