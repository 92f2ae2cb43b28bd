"""Runs with their figures as a leaderboard shows them: by scope, ordered, and one in detail.

Apart from the screen, because what stands where, and what is never mixed, can be said without
one: figures of a full catalogue and of candidate lists are different things and share no table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from storage.errors import BadData, UnknownName
from storage.records import Category, LayerProfile, Measurement, Run

if TYPE_CHECKING:
    from recommender.comparison import Difference
    from storage.store import Store

TEST = "test/full"
GATE = "gate/candidates"
NAMES = {
    TEST: "test, full catalogue",
    "valid/full": "validation, full catalogue",
    GATE: "gate, candidates",
}
CATALOGUE_METRICS = ("ndcg@10", "hr@10", "mrr@10")
CANDIDATE_METRICS = ("mrr", "ndcg@5", "hr@1")
"""Of ten candidates the first ten are no achievement."""
TAUGHT_BY = ("candidates", "mix", "history_length")
"""What decides the questions at the gate."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A row: a run's figures in one scope, or those of what was measured beside it."""

    run: Run
    scope: str
    beside: str = ""
    """Who was measured beside the run, on the same questions; empty for the run itself."""
    figures: Mapping[str, Measurement] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What tells it from the other rows."""
        return f"{self.run.id} {self.scope}"

    @property
    def name(self) -> str:
        """Whose figures they are."""
        return f"{self.beside} (beside {self.run.name})" if self.beside else self.run.name

    @property
    def note(self) -> str:
        """What must be known of a row that could be taken for another.

        >>> run = Run("a", 1, "student", "distilled", 0, {}, "done", "2026-11-23", final=True)
        >>> Standing(run, TEST).note
        'final'
        """
        if self.run.final:
            return "final"
        return "" if self.run.status == "done" else self.run.status

    @property
    def any_figure(self) -> Measurement | None:
        """One of the figures: all are of the same requests."""
        return next(iter(self.figures.values()), None)


@dataclass(frozen=True, slots=True)
class Detail:
    """All that is kept of one run."""

    run: Run
    measured: tuple[Measurement, ...]
    profile: LayerProfile | None
    """Of the layers that its lessons were weighed by."""
    weights: tuple[float, ...]
    """Of its own layers, the first block first; empty where no layer was taught."""
    other_seeds: tuple[tuple[int, str], ...]
    """(seed, run) of the same training with other seeds."""


def standings(
    runs: Sequence[Run], measured: Mapping[str, Sequence[Measurement]]
) -> dict[str, list[Standing]]:
    """Return the rows of every scope, the test of the full catalogue first.

    Args:
        runs: of one category.
        measured: run -> its figures.

    >>> run = Run("p-1", 1, "baseline", "popularity", 0, {}, "done", "2026-11-23")
    >>> gate = Run("t-1", 1, "teacher", "teacher smol", 0, {}, "done", "2026-11-23")
    >>> figure = Measurement("t-1", "gate/candidates/popularity", "mrr", 0.3, 0.2, 0.4, 9, 9)
    >>> found = standings([run, gate], {"t-1": [figure]})
    >>> [(scope, [row.name for row in rows]) for scope, rows in found.items()]
    [('test/full', ['popularity']), ('gate/candidates', ['popularity (beside teacher smol)'])]
    """
    found: dict[str, list[Standing]] = {TEST: []}
    for run in runs:
        by_scope: dict[str, dict[str, Measurement]] = {}
        for one in measured.get(run.id, ()):
            by_scope.setdefault(one.scope, {})[one.metric] = one
        if run.kind != "teacher":
            by_scope.setdefault(TEST, {})
        for scope, figures in by_scope.items():
            base, beside = _parts(scope)
            found.setdefault(base, []).append(Standing(run, scope, beside, figures))
    return {scope: rows for scope, rows in found.items() if rows}


def _parts(scope: str) -> tuple[str, str]:
    first, _, rest = scope.partition("/")
    second, _, beside = rest.partition("/")
    return f"{first}/{second}" if second else first, beside


def scope_name(scope: str) -> str:
    """Return what a scope is called.

    >>> scope_name("gate/candidates"), scope_name("probe/full")
    ('gate, candidates', 'probe, full')
    """
    return NAMES.get(scope, scope.replace("/", ", "))


def metrics_of(scope: str, rows: Sequence[Standing]) -> tuple[str, ...]:
    """Return the metrics that are columns in a scope."""
    usual = CANDIDATE_METRICS if scope.endswith("/candidates") else CATALOGUE_METRICS
    known = {metric for row in rows for metric in row.figures}
    return tuple(metric for metric in usual if metric in known) or usual


def ordered(rows: Sequence[Standing], by: str, *, reverse: bool) -> list[Standing]:
    """Return the rows in the order of a column; what has no value there comes last either way.

    >>> def row(name: str, value: float) -> Standing:
    ...     run = Run(name, 1, "student", name, 0, {}, "done", "")
    ...     figure = Measurement(name, TEST, "hr@10", value, 0, 1, 9, 9)
    ...     return Standing(run, TEST, "", {"hr@10": figure} if value else {})
    >>> rows = [row("a", 0.0), row("b", 0.2), row("c", 0.4)]
    >>> [r.name for r in ordered(rows, "hr@10", reverse=True)]
    ['c', 'b', 'a']
    """
    with_value = [(key, row) for row in rows if (key := _key(row, by)) is not None]
    without = [row for row in rows if _key(row, by) is None]
    with_value.sort(key=lambda one: one[0], reverse=reverse)
    return [row for _, row in with_value] + without


def _key(row: Standing, by: str) -> tuple[float, str] | None:
    """Return what a row is ordered by: a number where it is one, else a text."""
    texts = {
        "name": row.name.casefold(),
        "kind": row.run.kind,
        "made": row.run.created_at,
        "run": row.run.id,
    }
    if by in texts:
        return 0.0, texts[by]
    if by == "seed":
        return float(row.run.seed), ""
    measured = row.any_figure if by == "requests" else row.figures.get(by)
    if measured is None:
        return None
    value = float(measured.n) if by == "requests" else measured.value
    return None if value != value else (value, "")


def read_standings(store: Store, category: Category) -> dict[str, list[Standing]]:
    """Return the rows of a category by scope."""
    runs = store.runs.list(category.id)
    return standings(runs, {run.id: store.runs.measurements(run.id) for run in runs})


def read_detail(store: Store, run: Run) -> Detail:
    """Return all that is kept of a run."""
    key = str(run.config.get("profile") or "")
    try:
        profile = store.runs.profile(key) if key else None
    except UnknownName:
        profile = None
    return Detail(
        run,
        tuple(store.runs.measurements(run.id)),
        profile,
        _weights(run),
        tuple(_other_seeds(store, run)),
    )


def _weights(run: Run) -> tuple[float, ...]:
    """Return the weights of a distilled student's layers, as its training took them."""
    found = run.config.get("layer_weights")
    return tuple(float(one) for one in found) if isinstance(found, list) else ()


def _other_seeds(store: Store, run: Run) -> list[tuple[int, str]]:
    def alike(one: Run) -> tuple[object, ...]:
        config = {
            name: value for name, value in one.config.items() if name not in ("seed", "final")
        }
        return one.kind, one.name, one.final, _frozen(config)

    same = [one for one in store.runs.list(run.category_id) if alike(one) == alike(run)]
    return sorted((one.seed, one.id) for one in same if one.id != run.id)


def _frozen(config: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    # A student's own seed is that of the run.
    return tuple(one for one in flattened(config) if one[0] != "student.seed")


def setting(config: Mapping[str, object], path: str) -> object:
    """Return a nested setting by its dotted name, None where there is none.

    >>> setting({"student": {"network": {"blocks": 2}}}, "student.network.blocks")
    2
    """
    found: object = config
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def flattened(config: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as dotted names with their values.

    >>> flattened({"seed": 0, "loss": {"task": 1.0}})
    [('seed', '0'), ('loss.task', '1.0')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            rows += flattened(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", str(value)))
    return rows


def compare(store: Store, a: Standing, b: Standing) -> list[Difference]:
    """Return a - b on the requests that both answered.

    Raises:
        BadData: they share none, or did not choose from the same candidates.
    """
    # Imported here, in a thread: NumPy takes longer to load than a frame.
    from recommender.comparison import COMPARED, compare_runs

    candidates = a.scope.startswith(GATE)
    if candidates and a.run.id != b.run.id and _questions(a.run) != _questions(b.run):
        raise BadData(
            f"{a.name!r} and {b.name!r} share no request: they chose from different candidates"
        )
    return compare_runs(
        store,
        a.run,
        b.run,
        scope=a.scope,
        scope_b=b.scope,
        metrics=CANDIDATE_METRICS if candidates else COMPARED,
    )


def _questions(run: Run) -> list[object]:
    return [run.seed, *(setting(run.config, f"teacher.{name}") for name in TAUGHT_BY)]


def meaning(a: str, b: str, one: Difference) -> str:
    """Return what a difference says, in one sentence.

    >>> from recommender.comparison import Difference
    >>> from recommender.significance import Interval
    >>> clear = Difference("ndcg@10", 0.3, 0.2, Interval(0.1, 0.05, 0.15, 40, 20))
    >>> meaning("distilled", "popularity", clear)
    'distilled is better than popularity by ndcg@10: the whole interval lies above zero'
    >>> unclear = Difference("hr@10", 0.2, 0.2, Interval(0.0, -0.1, 0.1, 40, 20))
    >>> meaning("a", "b", unclear)
    'by hr@10 these requests do not tell a from b: the interval holds zero'
    """
    between = one.difference
    if not between.excludes_zero:
        return f"by {one.metric} these requests do not tell {a} from {b}: the interval holds zero"
    word, side = ("better", "above") if between.low > 0 else ("worse", "below")
    return f"{a} is {word} than {b} by {one.metric}: the whole interval lies {side} zero"
