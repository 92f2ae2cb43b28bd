"""What packing saves, and what Fisher costs on top of the answers. Run by make bench."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.importance.gradients.fisher import fisher_sample
from distill.importance.requests import PackedRequest
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.models import EMBEDDED_TEACHER, resolve_model
from storage.artifacts import Artifacts

pytestmark = [pytest.mark.bench, pytest.mark.models]

MOVIES = Prompt(tuple(f"Night of the Hunters {n} (199{n})" for n in range(10)), noun="movies")
MOVIE_TITLES = [f"Star Voyage {n}: The Return (198{n % 10})" for n in range(10)]
OFFICE = Prompt(
    tuple(f"Duracell Copper Top Alkaline AAA Long-Lasting, {n} Count" for n in range(10)),
    noun="office products",
)
OFFICE_TITLES = [
    f"Brother Genuine High Yield Toner Cartridge, TN{n}, Replacement Black Toner, Page Yield "
    f"Up To {n}00 Pages"
    for n in range(20)
]
SETS = {"movies": (MOVIES, MOVIE_TITLES), "office": (OFFICE, OFFICE_TITLES)}


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def backend(
    models: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> EmbeddedBackend:
    spec = resolve_model(models, EMBEDDED_TEACHER)
    folder = tmp_path_factory.getbasetemp() / "bench-artifacts"
    return EmbeddedBackend.open(
        spec, artifacts=Artifacts(folder), device="cpu", precision=request.param
    )


def naive(backend: EmbeddedBackend, prompt: Prompt, titles: list[str]) -> list[float]:
    return [backend.likelihood(prompt, [title]).logprobs[0] for title in titles]


def fisher(backend: EmbeddedBackend, prompt: Prompt, titles: list[str]) -> float:
    request = PackedRequest(tuple(backend.request_packs(prompt, titles)), 0)
    return fisher_sample(backend.model, request, temperature=10.0).loss


def packed(backend: EmbeddedBackend, prompt: Prompt, titles: list[str]) -> tuple[float, ...]:
    return backend.likelihood(prompt, titles).logprobs


@pytest.mark.parametrize("way", [packed, naive, fisher], ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", SETS)
def test_a_request(
    benchmark: Any, backend: EmbeddedBackend, kind: str, way: Callable[..., object]
) -> None:
    prompt, titles = SETS[kind]
    benchmark.extra_info["tokens"] = sum(len(p) for p in backend.request_packs(prompt, titles))
    benchmark.extra_info["threads"] = torch.get_num_threads()
    benchmark.pedantic(way, (backend, prompt, titles), rounds=3, warmup_rounds=1)
