r"""Pictures of measured layers: the same summaries give the same bytes.

Nothing here opens a window or keeps a state: a `Figure` is drawn on and written. The style is
matplotlib's own default with the changes below, whatever a user's configuration says. Colours
are those of Okabe and Ito, which colour-blind people tell apart, and data sets differ in their
markers too. The ground is white, so that a picture is legible on a dark page.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from scipy.stats import rankdata

from distill.importance.profile import Profile
from distill.importance.statistics.ratios import Matrix
from distill.importance.summary import CriterionSummary, Summary
from storage.errors import BadSetting

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "legend.frameon": False,
    # A name with two dollars in it is a name, and no formula.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "recsys",
}
WIDE = 4
"""Panels beside each other."""
STEEP = 20.0
"""A profile whose largest value is so many times its smallest is drawn on a log scale."""
ENDS = {"deepest": "-", "deepest but the last": "--", "shallowest": ":"}


def draw_profiles(summaries: Sequence[Summary]) -> Figure:
    """Draw every criterion over depth: one panel a criterion, one line a data set.

    Each profile is divided by the mean of its absolute values, as units differ by criterion;
    the band is the 95 % interval; the random twin is dashed.

    Raises:
        ValueError: there is no summary.

    >>> len(draw_profiles([_example()]).axes)
    1
    """
    labels = labelled(summaries)
    names = list(dict.fromkeys(name for one in summaries for name in one.criteria))
    with _style():
        wide = min(WIDE, len(names))
        high = -(-len(names) // wide)
        figure = Figure(figsize=(1.2 + 2.9 * wide, 0.9 + 2.1 * high), layout="constrained")
        for place, name in enumerate(names):
            axes = figure.add_subplot(high, wide, place + 1)
            shown = [
                (n, one.criteria[name]) for n, one in enumerate(summaries) if name in one.criteria
            ]
            for n, criterion in shown:
                _profile(axes, criterion, n, labels[n])
            axes.set_title(name)
            if all(_steep(criterion.profile) for _, criterion in shown):
                axes.set_yscale("log")
                # The usual labels of a log scale are formulas, which this style does not read.
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
            else:
                axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
                axes.axhline(0.0, color="#555555", linewidth=0.8)
        _legend(figure)
        figure.supxlabel("layer, the first is 0", fontsize=9)
        figure.supylabel("value, its mean over layers is 1", fontsize=9)
    return figure


def draw_heat(summaries: Sequence[Summary]) -> Figure:
    """Draw the rank of every layer by every criterion: bright matters most.

    Ranks and not values: one layer of enormous value would make all the others one colour.

    Raises:
        ValueError: there is no summary.

    >>> [text.get_text() for text in draw_heat([_example()]).axes[0].get_yticklabels()]
    ['taylor']
    """
    labels = labelled(summaries)
    with _style():
        rows = [len(one.criteria) for one in summaries]
        figure = Figure(figsize=(9.0, 1.2 + 0.24 * sum(rows) + 0.6 * len(rows)))
        figure.set_layout_engine("constrained")
        grid = figure.add_gridspec(len(rows), 1, height_ratios=rows)
        for n, one in enumerate(summaries):
            axes = figure.add_subplot(grid[n])
            ranks = np.array([rankdata(c.profile.mean) for c in one.criteria.values()])
            image = axes.imshow(
                (ranks - 1) / max(1, one.layers - 1),
                aspect="auto",
                cmap="cividis",
                vmin=0,
                vmax=1,
                interpolation="nearest",
            )
            axes.grid(False)
            axes.set_yticks(range(len(one.criteria)), list(one.criteria))
            axes.set_title(labels[n], loc="left")
        axes.set_xlabel("layer, the first is 0")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bar = figure.colorbar(image, ax=figure.axes, ticks=[0, 1], fraction=0.03)
        bar.ax.set_yticklabels(["matters\nleast", "matters\nmost"])
    return figure


def draw_taus(summary: Summary) -> Figure:
    """Draw Kendall's τ of every criterion with every other, with the numbers.

    >>> draw_taus(_example()).axes[0].texts[0].get_text()
    '1.0'
    """
    taus = summary.taus
    count = len(taus.names)
    with _style():
        size = 2.6 + 0.42 * count
        figure = Figure(figsize=(size + 0.8, size), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(taus.value, cmap="PuOr", vmin=-1, vmax=1, interpolation="nearest")
        axes.grid(False)
        axes.set_xticks(range(count), list(taus.names), rotation=90)
        axes.set_yticks(range(count), list(taus.names))
        for row in range(count):
            for column in range(count):
                value = float(taus.value[row, column])
                text = f"{value:.1f}".replace("-0.0", "0.0") if np.isfinite(value) else ""
                dark = abs(value) > 0.6
                axes.text(
                    column,
                    row,
                    text,
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else "black",
                )
        axes.set_title(f"do criteria order layers alike: {labelled([summary])[0]}", loc="left")
        bar = figure.colorbar(image, ax=axes, shrink=0.6)
        bar.set_label("Kendall's τ: 1 the same order, −1 the reverse")
    return figure


def draw_removals(summaries: Sequence[Summary]) -> Figure:
    """Draw what leaving layers out did: bands and quarters, and growing ends.

    Raises:
        ValueError: no layers were left out for any of them.

    >>> draw_removals([_example()])
    Traceback (most recent call last):
    ValueError: no layers were left out
    """
    labels = labelled(summaries)
    shown = [(n, one.removals) for n, one in enumerate(summaries) if one.removals is not None]
    if not shown:
        raise ValueError("no layers were left out")
    with _style():
        figure = Figure(figsize=(10.0, 6.2), layout="constrained")
        panels = figure.subplots(2, 2, width_ratios=(3, 4), sharex="col")
        for row, what in enumerate(("loss", "ndcg")):
            bars, lines = panels[row]
            for place, (n, removals) in enumerate(shown):
                named = {one.name: one for one in removals.sets}
                whole = [name for name in named if not name.startswith(tuple(ENDS))]
                estimates = [getattr(named[name], what) for name in whole]
                values, low, high = _columns(estimates)
                across = np.arange(len(whole)) + (place - (len(shown) - 1) / 2) * 0.8 / len(shown)
                bars.bar(
                    across,
                    values,
                    0.8 / len(shown),
                    color=_colour(n),
                    label=labels[n] if row == 0 else "",
                    yerr=np.array([values - low, high - values]),
                    error_kw={"linewidth": 1, "ecolor": "#222222"},
                )
                bars.set_xticks(range(len(whole)), [name.replace(" ", "\n") for name in whole])
                for end, style in ENDS.items():
                    some = [one for name, one in named.items() if _end(name) == end]
                    values, low, high = _columns([getattr(one, what) for one in some])
                    removed = [len(one.layers) for one in some]
                    label = end if place == 0 and row == 0 else ""
                    lines.plot(
                        removed,
                        values,
                        style,
                        color=_colour(n),
                        marker=_marker(n),
                        markersize=3,
                    )
                    lines.fill_between(removed, low, high, color=_colour(n), alpha=0.12, lw=0)
                    if label:
                        lines.plot([], [], style, color="#555555", label=label)
            unit = "rise of the loss, nats" if what == "loss" else "fall of NDCG@10"
            bars.set_ylabel(unit)
            for axes in (bars, lines):
                axes.axhline(0.0, color="#555555", linewidth=0.8)
        panels[0][0].set_title("a band left out whole", loc="left")
        panels[0][1].set_title("more and more of one end left out", loc="left")
        panels[0][1].legend(fontsize=8)
        panels[1][1].set_xlabel("layers left out")
        _legend(figure, only=panels[0][0])
    return figure


def draw_probe(summaries: Sequence[Summary]) -> Figure:
    """Draw what a linear probe reads of the choice off every state.

    Raises:
        ValueError: none of them was probed.

    >>> draw_probe([_example()])
    Traceback (most recent call last):
    ValueError: no states were probed
    """
    labels = labelled(summaries)
    shown = [(n, one.probe) for n, one in enumerate(summaries) if one.probe is not None]
    if not shown:
        raise ValueError("no states were probed")
    with _style():
        figure = Figure(figsize=(7.0, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for n, probe in shown:
            values, low, high = _columns(probe.states)
            depth = np.arange(len(values), dtype=np.float64)
            _line(axes, depth, values, low, high, n, labels[n])
            axes.plot(probe.best, values[probe.best], "*", color=_colour(n), markersize=12)
        axes.axhline(0.0, color="#555555", linewidth=0.8)
        axes.set_xlabel("state: 0 is the embedding, n is what layer n − 1 gives; the star is best")
        axes.set_ylabel("nats better than chance")
        axes.legend(fontsize=8)
    return figure


def write_picture(figure: Figure, path: Path) -> None:
    """Write a picture as .png or .svg; the same picture is the same bytes.

    Raises:
        BadSetting: the ending is another.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_picture(draw_heat([_example()]), Path(folder, "a.svg"))
    ...     "matters" in Path(folder, "a.svg").read_text()
    True
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise BadSetting(
            f"{path.name!r} is no picture that can be written: .png or .svg",
            next_step=f"{path.with_suffix('.svg')}",
        )
    metadata = {"Date": None, "Creator": "recsys"} if kind == "svg" else {"Software": "recsys"}
    with _style(), warnings.catch_warnings():
        # A name in a script that the font lacks is still text in an SVG, and boxes in a PNG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, format=kind, dpi=144, metadata=metadata)


def labelled(summaries: Sequence[Summary]) -> list[str]:
    """Say what each line is of: its data set, and its loss where there are several losses.

    Raises:
        ValueError: there is no summary.

    >>> labelled([_example()])
    ['Books']
    """
    if not summaries:
        raise ValueError("nothing to draw")
    several = len({one.loss for one in summaries}) > 1
    found = []
    for one in summaries:
        # A control character would make an SVG that no reader takes.
        name = "".join(c if c.isprintable() else " " for c in one.category)
        found.append(f"{name}, {one.loss}" if several else name)
    return found


@contextmanager
def _style() -> Iterator[None]:
    """Draw in one style: what a user's own configuration says would change the bytes."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def _profile(axes: Axes, one: CriterionSummary, n: int, label: str) -> None:
    profile, scale = one.profile, _scale(one.profile.mean)
    depth = np.arange(len(profile.mean), dtype=np.float64)
    low, high = profile.low / scale, profile.high / scale
    _line(axes, depth, profile.mean / scale, low, high, n, label)
    if one.null is not None:
        twin = one.null.mean / _scale(one.null.mean)
        axes.plot(
            depth, twin, "--", color=_colour(n), linewidth=1, alpha=0.8, label=f"{label}, twin"
        )


def _line(
    axes: Axes,
    depth: Matrix,
    value: Matrix,
    low: Matrix,
    high: Matrix,
    n: int,
    label: str,
) -> None:
    axes.fill_between(depth, low, high, color=_colour(n), alpha=0.2, linewidth=0)
    axes.plot(
        depth,
        value,
        color=_colour(n),
        marker=_marker(n),
        markersize=2.5,
        linewidth=1.2,
        label=label,
    )


def _scale(mean: Matrix) -> float:
    return float(np.abs(mean).mean()) or 1.0


def _steep(profile: Profile) -> bool:
    lowest = float(np.nanmin(np.concatenate([profile.mean, profile.low])))
    return lowest > 0 and float(profile.mean.max()) > STEEP * float(profile.mean.min())


def _columns(estimates: Sequence[Any]) -> tuple[Matrix, Matrix, Matrix]:
    """Give values and both ends of intervals; where there is no interval it has no width."""
    value = np.array([one.value for one in estimates])
    low, high = (np.array([getattr(one, end) for one in estimates]) for end in ("low", "high"))
    return value, np.where(np.isnan(low), value, low), np.where(np.isnan(high), value, high)


def _end(name: str) -> str:
    """Say which end a set eats at: 'deepest 20% but the last' -> 'deepest but the last'."""
    words = name.split()
    return " ".join([words[0], *words[2:]]) if words[0] in ("deepest", "shallowest") else ""


def _colour(n: int) -> str:
    return COLOURS[n % len(COLOURS)]


def _marker(n: int) -> str:
    return MARKERS[n % len(MARKERS)]


def _legend(figure: Figure, only: Axes | None = None) -> None:
    """Put one legend over all panels, each name once."""
    found: dict[str, Any] = {}
    for axes in [only] if only is not None else figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            list(found.values()), list(found), loc="outside upper center", ncols=min(4, len(found))
        )


def _example() -> Summary:
    """Make the summary that the examples here draw."""
    from distill.importance.criteria import CRITERIA
    from distill.importance.layers import importance
    from distill.importance.summary import summarise

    kept = [{"layers": np.array([4.0, 2.0, 1.0, 1.0])}] * 3
    one = importance(CRITERIA["taylor"], kept, resamples=50)
    return summarise({"taylor": one}, category="Books", resamples=50)
