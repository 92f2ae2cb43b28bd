"""Ways to the layer norms of one request that the benchmark of importance sets side by side.

Run as a module it measures the peak memory of one of them, in a process of its own:
`python -m tests.bench.importance_cases FOLDER WAY`, where FOLDER holds the embedded models.
"""

from __future__ import annotations

import copy
import gc
import json
import random
import re
import resource
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill.importance.gradients.fisher import Array, fisher_sample, run_requests
from distill.importance.gradients.ghost import GhostNorms
from distill.importance.gradients.modules import epsilon, frozen, layer_of
from distill.importance.gradients.norms import gain_terms, linear_square, square_sum
from distill.importance.requests import (
    FisherRequest,
    PackedRequest,
    lay_out,
    request_loss,
    scores_of,
)
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.passes import rows_hidden
from recommender.models import EMBEDDED_TEACHER, resolve_model

TEMPERATURE = 10.0
SIZES = {128: (3, 4), 256: (5, 9), 700: (12, 28)}
"""About so many tokens, from titles in the history and titles on offer."""
KINDS = (
    "Night of the Hunters {n} (19{m})",
    "Duracell Copper Top Alkaline AAA Long-Lasting, {n} Count",
    "Star Voyage {n}: The Return (19{m})",
    "Brother Genuine High Yield Toner Cartridge, TN{m}, Replacement Black Toner",
    "The {n} Lives of Miss Everly",
    "Scotch Heavy Duty Packaging Tape, {n} Rolls with Dispenser, Designed for Packing",
)


def open_backend(folder: Path) -> EmbeddedBackend:
    return EmbeddedBackend.open(
        resolve_model(folder, EMBEDDED_TEACHER), device="cpu", precision="float32"
    )


def titles(begin: int, count: int) -> tuple[str, ...]:
    return tuple(
        KINDS[n % len(KINDS)].format(n=n, m=n % 90 + 10) for n in range(begin, begin + count)
    )


def request_of(
    backend: EmbeddedBackend, history: int, offered: int, begin: int = 0
) -> PackedRequest:
    prompt = Prompt(titles(begin, history), noun="products")
    asked = FisherRequest(prompt, titles(begin + 100, offered), begin % offered)
    return lay_out(backend, asked, "listwise")


def some_requests(backend: EmbeddedBackend, count: int) -> list[PackedRequest]:
    """Histories of 3 to 10 titles, 10 on offer, as a shop's would be; the titles are made up."""
    rng = random.Random(0)
    return [request_of(backend, rng.randint(3, 10), 10, rng.randrange(1000)) for _ in range(count)]


def by_layer(model: Any, squares: dict[str, float]) -> Array:
    found = np.zeros(len(model.model.layers))
    for name, square in squares.items():
        layer = layer_of(name)
        if layer is not None:
            found[layer] += square
    return found


def naive(model: Any, request: PackedRequest) -> Array:
    """Autograd by every weight, one request at a time, reduced without a copy."""
    names, weights = zip(*model.named_parameters(), strict=True)
    for weight in weights:
        weight.requires_grad_(True)
    loss = request_loss(scores_of(model, request), request.target, TEMPERATURE)
    grads = torch.autograd.grad(loss, weights)
    lengths = [torch.linalg.vector_norm(grad).item() for grad in grads]
    return by_layer(model, {n: x**2 for n, x in zip(names, lengths, strict=True)})


def ours(model: Any, request: PackedRequest) -> Array:
    """All criteria of one pass."""
    return fisher_sample(model, request, temperature=TEMPERATURE).layers


class FisherAlone(GhostNorms):
    """The norms of weights, without gates, directions, Block Influence and positions."""

    def _forward(self, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        start = self._passes[-1].start if self._is_rowwise(name) else 0
        output.register_hook(partial(self._arrive, name, module, args[0].detach()[:, start:]))

    def _arrive(self, name: str, module: nn.Module, a: Tensor, b: Tensor) -> None:
        b = b.detach()[:, b.shape[1] - a.shape[1] :]
        if isinstance(module, nn.Linear):
            self.squares[name] = linear_square(a, b)
        else:
            self.squares[name] = square_sum(gain_terms(a, b, epsilon(module)).sum(1))[None]

    def _block(self, *_: Any) -> None:
        return None


def fisher_alone(model: Any, request: PackedRequest) -> Array:
    with torch.enable_grad(), FisherAlone(model) as norms:
        [scores] = run_requests(norms, [request])
        norms.backward(request_loss(scores, request.target, TEMPERATURE))
        return by_layer(model, {n: x.item() for n, x in norms.squares.items()})


def forward(model: Any, request: PackedRequest) -> Tensor:
    """A pass of frozen weights that could be gone back through: it keeps its graph."""
    [one] = request.packs
    with frozen(model):
        embeds = model.model.embed_tokens(torch.from_numpy(one.ids)[None])
        return scores_of(model, request, [embeds.detach().requires_grad_(True)])


class Opacus:
    """Ghost clipping's norms by opacus, of a copy whose head is a matrix of its own.

    It refuses tied weights, looks only at a model in training mode, and takes the first of the
    three dimensions of a linear layer's input for the samples; so the head gets three as well.
    Its own optimizer goes back by `backward`, and then throws those gradients away.
    """

    def __init__(self, model: Any) -> None:
        from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
            GradSampleModuleFastGradientClipping,
        )

        self.model = copy.deepcopy(model).train()
        self.model.lm_head.weight = nn.Parameter(self.model.lm_head.weight.detach().clone())
        for weight in self.model.parameters():
            weight.requires_grad_(True)
        self._wrapped = GradSampleModuleFastGradientClipping(self.model, strict=False)

    def __call__(self, _model: Any, request: PackedRequest) -> Array:
        [one] = request.packs
        start = one.prefix - 1
        logits = self.model.lm_head(rows_hidden(self.model, [one])[:, start:])[0]
        rows = torch.from_numpy(one.rows) - start
        token = logits[rows, torch.from_numpy(one.targets)] - logits.logsumexp(-1)[rows]
        owners = torch.from_numpy(one.owners)
        scores = torch.zeros(one.candidates).index_add(0, owners, token)
        request_loss(scores, request.target, TEMPERATURE).backward()
        found = {n: p._norm_sample.item() ** 2 for n, p in self.model.named_parameters()}
        self.model.zero_grad()
        return by_layer(self.model, found)


WAYS = {"forward": forward, "ours": ours, "naive": naive}


def _status(field: str) -> int:
    """Bytes of a field of the kernel's book about this process."""
    [kilobytes] = re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024


def peak(folder: Path, way: str) -> dict[str, Any]:
    """Run one way once, in this fresh process, and say how far its memory grew."""
    torch.set_num_threads(1)
    backend = open_backend(folder)
    request = request_of(backend, *SIZES[700])
    with torch.inference_mode():  # weights are read in, kernels picked, the heap is in use
        scores_of(backend.model, request_of(backend, 1, 1))
    for weight in backend.model.parameters():
        weight.requires_grad_(True)
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before, read = _status("VmRSS"), partial(_status, "VmHWM")
    except OSError:  # no such file, or it may not be written: the peak since the start, then
        before = 0

        def read() -> int:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    kept = WAYS[way](backend.model, request)
    after = read()
    del kept
    weights = sum(p.numel() * p.element_size() for p in backend.model.parameters())
    return {
        "tokens": request.tokens,
        "grown": after - before,
        "weights": weights,
        "reset": before > 0,
    }


if __name__ == "__main__":
    print(json.dumps(peak(Path(sys.argv[1]), sys.argv[2])))
