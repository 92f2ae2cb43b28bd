"""The tables of a report on layers: every number is one of the findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distill.importance.criteria import ONE_PASS
from distill.importance.findings import Finding, Findings
from distill.importance.statistics.ratios import (
    RESAMPLES,
    Estimate,
    Matrix,
    band_ratio,
    mean_profile,
)
from distill.importance.summary import CriterionSummary, Kept, Summary
from distill.markdown import escaped, figure, number, table

_LLAMA = (
    "input_layernorm",
    "mlp.down_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "post_attention_layernorm",
    "self_attn.k_proj",
    "self_attn.o_proj",
    "self_attn.q_proj",
    "self_attn.v_proj",
)
KINDS: Mapping[int, tuple[str, ...]] = {
    len(_LLAMA): _LLAMA,
    # Qwen 3 has norms of keys and queries besides.
    len(_LLAMA) + 2: tuple(sorted((*_LLAMA, "self_attn.k_norm", "self_attn.q_norm"))),
}
"""Modules of a block that have weights of their own, sorted, by how many there are."""
OUTSIDE = ("embedding", "head", "norm before the head")
NOT_TIED = "the embedding and the head are two matrices here"


def kind_names(count: int) -> tuple[str, ...]:
    """Name the columns of `matrices`.

    >>> kind_names(9)[1], kind_names(11)[5], kind_names(2)
    ('mlp.down_proj', 'self_attn.k_norm', ('weight 0', 'weight 1'))
    """
    return KINDS.get(count) or tuple(f"weight {n}" for n in range(count))


def criteria_table(found: Findings) -> str:
    """Say what each criterion is, and on how many requests it was measured."""
    criteria: dict[str, CriterionSummary] = {}
    for one in found.each:
        criteria |= one.summary.criteria
    heads = ["criterion", "what it is", "source", *(f">{requests_of(one)}" for one in found.each)]
    rows = [
        [
            name,
            escaped(c.meaning),
            escaped(c.source),
            *(_requests(one.summary.criteria.get(name)) for one in found.each),
        ]
        for name, c in criteria.items()
    ]
    return table(heads, rows)


def requests_of(one: Finding) -> str:
    """Name a finding: its data set, and its loss where that is not the usual one."""
    loss = "" if one.measured.loss == "listwise" else f", {one.measured.loss}"
    return f"{escaped(one.title)}{loss}"


def ratio_table(summary: Summary) -> str:
    """Put all criteria beside each other: shape, agreement with the truth, the twin."""
    twins = any(c.null_ratio is not None for c in summary.criteria.values())
    heads = ["criterion", ">last / first quarter", ">last / first 30 %", ">quarters, geometric"]
    heads += [">ρ with depth", *(f">τ with {truth}" for truth in summary.truths)]
    heads += [">random twin, quarters", ">model / twin"] if twins else []
    heads += [">requests for ±10 %"]
    rows = []
    for name, c in summary.criteria.items():
        row = [name, figure(c.ratio), figure(c.ratios["thirty-percent"])]
        row += [figure(c.ratios["quartiles-geometric"]), figure(c.depth)]
        row += ["is it" if name == t else figure(c.against[t]) for t in summary.truths]
        row += [figure(c.null_ratio), figure(c.to_null)] if twins else []
        rows.append([*row, _needed(c)])
    return table(heads, rows)


def baseline_table(summary: Summary) -> str:
    """Compare the truth with what knows nothing of the model, and with means of criteria."""
    heads = ["beside it", *(f">τ with {truth}" for truth in summary.truths)]
    rows = [
        [name, *(figure(taus.get(truth)) for truth in summary.truths)]
        for name, taus in summary.baselines.items()
    ]
    return table(heads, rows)


def thirds_table(summary: Summary, grouping: str) -> str:
    """Give the ratio of quarters by thirds of the requests."""
    some = {n: c.groups[grouping] for n, c in summary.criteria.items() if c.groups.get(grouping)}
    thirds = list(dict.fromkeys(third for groups in some.values() for third in groups))
    usual = ("short", "light", "middle", "long", "heavy")
    order: list[str] = [t for t in usual if t in thirds]
    order += [t for t in thirds if t not in order]
    rows = [[name, *(figure(groups.get(t)) for t in order)] for name, groups in some.items()]
    return table(["criterion", *(f">{escaped(t)}" for t in order)], rows)


def halves_table(summary: Summary) -> str:
    """Give τ between the profiles of two halves, for rising numbers of requests."""
    some = {name: c.halves for name, c in summary.criteria.items() if c.halves}
    sizes = sorted({half.size for halves in some.values() for half in halves})
    rows = []
    for name, halves in some.items():
        by_size = {half.size: half for half in halves}
        row = [name]
        for size in sizes:
            half = by_size.get(size)
            if half is None:
                row.append("")
            else:
                why = "every half was constant"
                tau = Estimate(half.mean, half.low, half.high, why)
                row.append(figure(tau))
        rows.append(row)
    return table(["criterion", *(f">of {size}" for size in sizes)], rows)


def kinds_table(one: Finding, *, resamples: int = RESAMPLES, seed: int = 0) -> str:
    """Split the empirical Fisher of the blocks by kind of weight; empty where it is not there."""
    arrays = _one_pass(one)
    if not arrays:
        return ""
    matrices = np.stack([np.asarray(each["matrices"], dtype=np.float64) for each in arrays])
    whole = matrices.mean(axis=0).sum()
    rows = []
    for n, name in enumerate(kind_names(matrices.shape[2])):
        values: Matrix = matrices[:, :, n]
        mean = mean_profile(values)
        share = mean.sum() / whole if whole > 0 else 0.0
        ratio = band_ratio(values, resamples=resamples, seed=seed)
        largest = int(mean.argmax())
        rows.append([f"`{name}`", number(100 * share, 1), figure(ratio), str(largest)])
    heads = ["weights", ">% of all blocks", ">last / first quarter", ">largest in layer"]
    return table(heads, rows)


def outside_table(one: Finding) -> str:
    """Give the empirical Fisher outside the blocks, beside that of all blocks together."""
    arrays = _one_pass(one)
    if not arrays:
        return ""
    outside = np.stack([np.asarray(each["outside"], dtype=np.float64) for each in arrays])
    blocks = float(np.mean([np.asarray(each["matrices"]).sum() for each in arrays]))
    embedding, head, norm, tied = (float(value) for value in outside.mean(axis=0))
    rows = [["all blocks", f"{blocks:.3g}"]]
    rows += [[n, f"{v:.3g}"] for n, v in zip(OUTSIDE, (embedding, head, norm), strict=True)]
    if np.isnan(tied):
        rows.append(["the tied matrix", f"none: {NOT_TIED}"])
    else:
        cross = tied - embedding - head
        rows += [["the tied matrix: embedding and head in one", f"{tied:.3g}"]]
        rows += [["of that, the cross term (tied − embedding − head)", f"{cross:.3g}"]]
    return table(["weights", ">squared gradient, mean"], rows)


def removal_table(summary: Summary) -> str:
    """Say what leaving each set of layers out did."""
    gone = summary.removals
    if gone is None:
        return ""
    heads = ["left out", "layers", ">rise of the loss", ">per layer", ">fall of NDCG@10"]
    rows = [
        [
            one.name,
            _span(one.layers),
            figure(one.loss),
            figure(one.loss_each, 3),
            figure(one.ndcg, 3),
            figure(one.ndcg_each, 4),
        ]
        for one in gone.sets
    ]
    return table([*heads, ">per layer"], rows)


def harm_table(summary: Summary) -> str:
    """Give the harm of the upper over the harm of the lower layers."""
    gone = summary.removals
    if gone is None:
        return ""
    rows = [[name, figure(ratio)] for name, ratio in gone.ratios.items()]
    return table(["upper / lower", ">ratio of harms"], rows)


def greedy_table(summary: Summary) -> str:
    """Give the order in which layers went, and the loss after each."""
    if summary.greedy is None:
        return ""
    pairs = zip(summary.greedy.order, summary.greedy.losses, strict=True)
    rows = [[str(n + 1), str(layer), number(loss, 3)] for n, (layer, loss) in enumerate(pairs)]
    return table([">step", ">layer that went", ">loss without it and those before"], rows)


def probe_table(found: Sequence[Finding]) -> str:
    """Give what a probe reads off every state; empty where nothing was probed."""
    probed = [(one, one.summary.probe) for one in found if one.summary.probe is not None]
    if not probed:
        return ""
    states = max(len(probe.states) for _, probe in probed)
    rows = []
    for n in range(states):
        name = "embedding" if n == 0 else f"after layer {n - 1}"
        cells = [figure(probe.states[n], 3) if n < len(probe.states) else "" for _, probe in probed]
        rows.append([str(n), name, *cells])
    return table([">state", "of", *(f">{requests_of(one)}" for one, _ in probed)], rows)


def kept_table(kept: Sequence[Kept]) -> str:
    """Give how often each layer is kept, mean over criteria."""
    layers = len(kept[0].rates.overall)
    heads = [">layer", *(f">kept in cuts to {one.keep}" for one in kept)]
    rows = [
        [str(layer), *(f"{100 * float(one.rates.overall[layer]):.0f} %" for one in kept)]
        for layer in range(layers)
    ]
    return table(heads, rows)


def between_table(taus: Mapping[str, Estimate], what: str) -> str:
    """Give one τ a criterion."""
    return table(["criterion", f">{what}"], [[name, figure(tau)] for name, tau in taus.items()])


def losses_table(criteria: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Give τ between losses, criterion by criterion."""
    pairs = list(dict.fromkeys(pair for taus in criteria.values() for pair in taus))
    rows = [[name, *(figure(taus.get(p)) for p in pairs)] for name, taus in criteria.items()]
    return table(["criterion", *(f">{pair}" for pair in pairs)], rows)


def _one_pass(one: Finding) -> Sequence[Mapping[str, Matrix]]:
    """Return what the pass kept of each request; nothing where it did not keep the matrices."""
    for found in one.measured.found.values():
        if found.criterion.measure == ONE_PASS and "matrices" in found.arrays[0]:
            return found.arrays
    return ()


def _requests(one: CriterionSummary | None) -> str:
    if one is None:
        return "not measured"
    return str(one.requests) if one.requests else "all as one"


def _needed(one: CriterionSummary) -> str:
    if not one.requests:
        return "one profile"
    return "no number does" if one.needed is None else f"{one.needed:,}"


def _span(layers: Sequence[int]) -> str:
    """Return e.g. '0–8', as every set is without gaps."""
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]}–{layers[-1]}"
