"""What the layer norms cost beside autograd and opacus, and what a person waits. Run by make bench.

Contestants take turns, and each is timed by the processor's clock with one thread, so that
whatever else the machine does falls on all alike. Times are printed beside their targets and
never asserted; that all ways give the same norms is.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from distill.importance.criteria import CRITERIA, ONE_PASS
from distill.importance.gradients.fisher import fisher_batch, fisher_sample
from distill.importance.measures import measured
from distill.importance.statistics.sample_size import (
    NORMAL_95,
    requests_needed,
    stratified_mean,
    stratified_plan,
)
from recommender.backends.embedded import EmbeddedBackend
from tests.bench.importance_cases import (
    SIZES,
    TEMPERATURE,
    WAYS,
    Opacus,
    fisher_alone,
    forward,
    naive,
    open_backend,
    ours,
    request_of,
    some_requests,
)

pytestmark = [
    pytest.mark.bench,
    pytest.mark.models,
    # opacus hooks the embedding, whose input is no number that has a gradient.
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
]

ROOT = Path(__file__).parents[2]
ROUNDS = 3
ROWS = 4
PILOT = 32
WITHIN = 0.10


@pytest.fixture(scope="module")
def backend(models: Path) -> EmbeddedBackend:
    return open_backend(models)


@pytest.fixture(scope="module")
def opacus(backend: EmbeddedBackend) -> Opacus:
    pytest.importorskip("opacus", reason="opacus is not installed: pip install '.[bench]'")
    return Opacus(backend.model)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    return line


def compared(size: int, seconds: dict[str, float]) -> list[tuple[str, str, float]]:
    """Give the ratios that have a target: which, the target, and what was measured."""
    mine = seconds["ours"]
    rows = [("opacus / ours", "≥ 2", seconds["opacus"] / mine)]
    rows.append(("seven criteria / Fisher alone", "≤ 1.5", mine / seconds["Fisher alone"]))
    if size > 256:
        rows.append(("ours / naive", "≤ 1.05", mine / seconds["naive"]))
    else:
        rows.append(("naive / ours", "≥ 1.15", seconds["naive"] / mine))
        batched = seconds["naive"] / seconds["ours batched"]
        rows.append((f"naive / ours, {ROWS} a batch", "≥ 1.15", batched))
    return rows


@pytest.mark.parametrize("size", SIZES)
def test_ways_to_the_norms_of_a_request(
    benchmark: Any,
    backend: EmbeddedBackend,
    opacus: Opacus,
    say: Callable[[str], None],
    size: int,
) -> None:
    model = backend.model
    request = request_of(backend, *SIZES[size])
    rows = [request_of(backend, *SIZES[size], begin) for begin in range(ROWS)]
    ways: dict[str, Callable[[], Any]] = {
        "naive": partial(naive, model, request),
        "ours": partial(ours, model, request),
        "Fisher alone": partial(fisher_alone, model, request),
        "opacus": partial(opacus, model, request),
        "forward": partial(forward, model, request),
    }
    if size <= 256:
        ways["ours batched"] = partial(fisher_batch, model, rows, temperature=TEMPERATURE)
    first = {name: counted(way) for name, way in ways.items()}  # this warms all up as well
    flops = {name: operations for name, (_, operations) in first.items()}
    for name in ("ours", "Fisher alone", "opacus"):
        np.testing.assert_allclose(first[name][0], first["naive"][0], rtol=2e-3, err_msg=name)
    taken: dict[str, list[float]] = {name: [] for name in ways}

    def turn() -> None:
        for name, way in ways.items():
            begin = time.process_time()
            way()
            taken[name].append(time.process_time() - begin)

    benchmark.pedantic(turn, rounds=ROUNDS)
    seconds = {name: statistics.median(some) for name, some in taken.items()}
    if "ours batched" in ways:
        seconds["ours batched"] /= ROWS
        flops["ours batched"] //= ROWS
    say(f"{request.tokens} tokens, {request.choices} titles, the packed request for all ways")
    for name, some in seconds.items():
        say(f"  {name:14s} {some:7.3f} s  {flops[name] / 1e9:8.0f} GFLOP")
    found = compared(size, seconds)
    for what, target, ratio in found:
        say(f"  {what:32s} {target:7s} {ratio:.2f}")
    benchmark.extra_info |= {"tokens": request.tokens, "seconds": seconds, "flops": flops}
    benchmark.extra_info["ratios"] = {what: ratio for what, _, ratio in found}


class Anywhere(nullcontext[None]):
    """Instead of how the counter tells modules apart, which `autograd.grad` does not bear.

    It hooks every module's inputs, and refuses where one is the leaf that is gone back to.
    """

    parents = frozenset({"Global"})


def counted(way: Callable[[], Any]) -> tuple[Any, int]:
    """Give what a way gives, and its operations in products and attention, also those of hooks."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = Anywhere()
    with counter:
        found = way()
    return found, counter.get_total_flops()


def test_peak_memory(benchmark: Any, models: Path, say: Callable[[str], None]) -> None:
    def all_ways() -> dict[str, Any]:
        found = {}
        for way in WAYS:
            command = [sys.executable, "-m", "tests.bench.importance_cases", str(models), way]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            found[way] = json.loads(done.stdout)
        return found

    found = benchmark.pedantic(all_ways, rounds=1)
    say(f"{found['ours']['tokens']} tokens, peak memory")
    if not found["ours"]["reset"]:
        say("  the peak cannot be reset here: what loading the model took is in it")
    for label, key in (("without the weights", 0), ("with the weights", 1)):
        bytes_of = {way: one["grown"] + key * one["weights"] for way, one in found.items()}
        sizes = ", ".join(f"{way} {size / 1e6:.0f} MB" for way, size in bytes_of.items())
        say(f"  {label}: {sizes}")
        for base, target in (("forward", "≤ 1.3"), ("naive", "< 1")):
            say(f"    ours / {base:8s} {target:6s} {bytes_of['ours'] / bytes_of[base]:.2f}")
    benchmark.extra_info |= found


def test_what_a_person_waits(
    benchmark: Any, backend: EmbeddedBackend, say: Callable[[str], None]
) -> None:
    requests = some_requests(backend, PILOT)
    seconds: list[float] = []

    def pilot() -> list[dict[str, Any]]:
        found = []
        for request in requests:
            begin = time.process_time()
            sample = fisher_sample(backend.model, request, temperature=TEMPERATURE)
            seconds.append(time.process_time() - begin)
            found.append(measured(sample))
        return found

    kept = benchmark.pedantic(pilot, rounds=1)
    tokens = np.array([request.tokens for request in requests])
    strata = np.searchsorted(np.quantile(tokens, [1 / 3, 2 / 3]), tokens)
    costs = {int(name): float(np.mean(np.array(seconds)[strata == name])) for name in {*strata}}
    each = statistics.mean(seconds)
    say(f"{PILOT} made-up requests of {tokens.min()} to {tokens.max()} tokens, {each:.2f} s each")
    say("  until every layer's 95 % interval is within ±10 %: requests, minutes; by strata")
    for name, criterion in CRITERIA.items():
        if criterion.measure != ONE_PASS:
            continue
        values = np.stack([criterion.read(arrays) for arrays in kept])
        plain = requests_needed(values, within=WITHIN)
        assert plain is not None
        plan = least_plan(values, strata, plain)
        waits = sum(count * costs[int(stratum)] for stratum, count in plan.items()) / 60
        say(
            f"  {name:20s} {plain:6d} {plain * each / 60:8.1f} min;"
            f" {sum(plan.values()):6d} {waits:8.1f} min"
        )
        benchmark.extra_info[name] = {"plain": plain, "strata": sum(plan.values())}


def least_plan(values: Any, strata: Any, plain: int) -> dict[Any, int]:
    """Find the smallest plan by strata that is narrow enough for every layer."""
    low, high = 2 * len(np.unique(strata)), max(plain, 12)
    # One layer decides the shares, which may suit another so ill that more are needed than plain.
    while width(values, strata, stratified_plan(values, strata, high)) > WITHIN:
        high *= 2
    while low < high:
        budget = (low + high) // 2
        if width(values, strata, stratified_plan(values, strata, budget)) > WITHIN:
            low = budget + 1
        else:
            high = budget
    return stratified_plan(values, strata, low)


def width(values: Any, strata: Any, plan: dict[Any, int]) -> float:
    """Give the widest layer's half-width over its mean, were a plan's requests drawn.

    The pilot's own standard errors, with the plan's n_h for the pilot's.
    """
    names, counts = np.unique(strata, return_counts=True)
    shares = {name.item(): count / len(strata) for name, count in zip(names, counts, strict=True)}
    mean, _ = stratified_mean(values, strata, shares)
    square = sum(
        shares[name] ** 2 * values[strata == name].var(axis=0, ddof=1) / plan[name]
        for name in shares
    )
    return float((NORMAL_95 * np.sqrt(square) / np.abs(mean)).max())
