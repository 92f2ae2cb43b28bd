"""What an adaptation leaves behind: the run with its figures, and a name that `--teacher` takes.

The run is a teacher's: by its model's key, whoever asks that teacher later finds how its
letters are read. Its figures are those of test; what stands beside it has scopes of its own,
as at the gate of a distillation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from distill.adapting.config import AdaptConfig
from distill.adapting.judging import SCOPE, Judged
from recommender.evaluation import Evaluation
from recommender.models import register
from storage.records import Artifact, Category, Measurement, Run
from storage.store import Store

Curve = Sequence[tuple[int, float, float]]
"""Step, validation MRR by letters, mean loss since the point before."""


def run_id(artifact: Artifact) -> str:
    """Return the id of an adaptation's run, which is also the name of its teacher.

    >>> run_id(Artifact("0123456789abcdef", "adapted", "", {}, 0))
    'adapted-01234567'
    """
    return f"adapted-{artifact.key[:8]}"


def register_run(
    store: Store,
    category: Category,
    config: AdaptConfig,
    artifact: Artifact,
    judged: Judged,
    made: Mapping[str, object],
    *,
    models: Path,
    now: datetime,
) -> Run:
    """Keep the run with its figures, and name a merged directory as a teacher of this machine.

    Args:
        store: where.
        category: whose data it learned from.
        config: what was asked for.
        artifact: the merged directory, or the adapter.
        judged: the figures.
        made: what else to remember: keys of both models, steps, the curve.
        models: the folder whose registry gets the name.
        now: the time.
    """
    scoring = {
        "way": "letters",
        "temperature": judged.temperature,
        "orders": 1,
        "prior": list(judged.prior),
    }
    run = Run(
        id=run_id(artifact),
        category_id=category.id,
        kind="teacher",
        name=f"adapted {made['base']}",
        seed=config.seed,
        config={
            **config.as_dict(),
            **made,
            "scoring": scoring,
            "declined": dict(judged.declined),
            "data": category.digest,
            "synthetic": category.synthetic,
        },
        status="done",
        created_at=now.isoformat(timespec="seconds"),
        artifact=artifact.key,
    )
    if config.merged:
        register(models, run.id, artifact.path)
    store.runs.add(run)
    found = sorted(_figures(store, run.id, judged), key=lambda one: (one.scope, one.metric))
    if found != store.runs.measurements(run.id):
        # Judged anew, on other requests: the figures that were just asked for are the run's.
        store.runs.update(run.id, config=dict(run.config))
        # In one transaction: a run has all of its figures, or is registered again.
        store.runs.add_measurements(found)
    return run


def _figures(store: Store, run: str, judged: Judged) -> list[Measurement]:
    main = judged.adapted["letters"]
    found = list(main.measurements(run, _keep_rows(store, run, main)))
    beside: list[Evaluation] = [
        *(e for e in judged.adapted.values() if e is not main),
        *judged.unadapted.values(),
        *judged.others,
    ]
    for one in beside:
        rows = _keep_rows(store, run, one)
        found += [replace(m, scope=f"{SCOPE}/{one.name}") for m in one.measurements(run, rows)]
    return found


def _keep_rows(store: Store, run: str, evaluation: Evaluation) -> str:
    # By the ranks too: another measurement of the same run is another artifact.
    ranks = hashlib.sha256(evaluation.ranks.tobytes()).hexdigest()
    inputs = {"run": run, "scope": evaluation.scope, "ranker": evaluation.name, "ranks": ranks}
    with store.artifacts.writing("evaluation", inputs) as path:
        store.artifacts.save_arrays(path / "rows.safetensors", dict(evaluation.arrays()))
    return store.artifacts.key("evaluation", inputs)


def settings_of_learning(config: AdaptConfig) -> dict[str, object]:
    """Return what of a configuration decides the weights: not how they are judged or kept.

    >>> "test_requests" in settings_of_learning(AdaptConfig("Books"))
    False
    """
    kept = config.as_dict()
    for name in ("category", "teacher", "device", "test_requests", "whole_requests", "merged"):
        del kept[name]
    plain: dict[str, object] = json.loads(json.dumps(kept))
    return plain
