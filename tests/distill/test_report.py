"""A run written up: its structure, its figures, and names that try to be Markdown."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from PIL import Image

from distill.importance.findings import Findings, findings
from distill.importance.pictures import (
    draw_probe,
    draw_profiles,
    draw_removals,
    draw_taus,
    write_picture,
)
from distill.importance.statistics.ratios import Estimate, band_ratio
from distill.markdown import code, escaped, figure, number, table
from distill.report import GLOSSES, LIMITS, write_report
from distill.report_tables import kind_names, outside_table
from storage.errors import BadSetting
from tests.distill.measured import LAYERS, RESAMPLES, SOME, measured

HOSTILE = "Bo|oks <b>`x`</b> ](http://x)\n# Toys\x1b[2J \u202e$a$ **b**"
HEADINGS = [
    "# Do the upper layers matter more? tiny",
    "## Answer",
    "## What was measured",
    "## The criteria",
    "## Shape and truth: Books",
    "## Shape and truth: Toys",
    "## Fisher information by kind of weight",
    "### Books",
    "### Toys",
    "## Layers left out together: Books",
    "## Layers taken away one after another: Books",
    "## What a probe reads off each state",
    "## Which layers a cut keeps: Books",
    "## Which layers a cut keeps: Toys",
    "## Do two halves of the requests agree",
    "### Books",
    "### Toys",
    "## Between data sets (listwise)",
    "## Between losses: Books",
    "## Pictures",
    "## What this does not show",
    "## How to make it again",
]


@pytest.fixture(scope="module")
def run() -> Findings:
    some = ("fisher-empirical", "gate-fisher")
    return findings(
        [
            measured("Books"),
            measured("Toys", names=some, seed=1, null=False, tied=False),
            measured("Books", names=some, loss="letters", seed=2),
        ],
        resamples=RESAMPLES,
    )


@pytest.fixture(scope="module")
def written(run: Findings, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    page = tmp_path_factory.mktemp("report") / "layers.md"
    return write_report(page, run, date="2026-11-24", command="recsys importance -c Books")


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """The rows of the first table under a heading, by their first cell."""
    part = page.split(f"\n{heading}\n", 1)[1]
    lines = part.split("\n| ", 1)[1].split("\n\n", 1)[0].splitlines()
    cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines[2:]]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}


def test_the_structure(run: Findings, written: list[Path]) -> None:
    text = written[0].read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if re.match("#{1,3} ", line)]
    letters = [line for line in headings if "letters" in line]
    assert [line for line in headings if line not in letters] == HEADINGS
    assert letters == [
        "## Shape and truth: Books, letters",
        "### Books, letters",
        "## Which layers a cut keeps: Books, letters",
        "### Books, letters",
    ]
    assert "Measured 2026-11-24." in text
    answer_ = text.split("## Answer", 1)[1].split("The rule:", 1)[0]
    for verdict in run.verdicts.values():
        for sentence in verdict.text.split(". "):
            assert escaped(sentence.rstrip(".")) in answer_
    assert "By the loss listwise: **'Upper layers matter more' is undecided for tiny" in answer_
    for gloss in (*GLOSSES.values(), *LIMITS):
        assert gloss in text
    assert text.endswith("```bash\nrecsys importance -c Books\n```\n")
    assert "nan" not in text.lower().replace("finance", "")
    # Every table has as many cells in each row as in its head.
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_the_figures_are_those_of_the_findings(run: Findings, written: list[Path]) -> None:
    text = written[0].read_text(encoding="utf-8")
    one = run.each[0].summary
    rows = rows_of(text, "## Shape and truth: Books")
    assert set(rows) == set(SOME)
    for name, c in one.criteria.items():
        expected = [figure(c.ratio), figure(c.ratios["thirty-percent"])]
        expected += [figure(c.ratios["quartiles-geometric"]), figure(c.depth)]
        for truth in ("loo-loss", "loo-ndcg"):
            expected.append("is it" if name == truth else figure(c.against[truth]))
        assert rows[name][:6] == expected
        assert rows[name][6:8] == [figure(c.null_ratio), figure(c.to_null)]
    assert one.removals is not None
    gone = rows_of(text, "## Layers left out together: Books")
    for row in one.removals.sets:
        cells = [figure(row.loss), figure(row.loss_each, 3), figure(row.ndcg, 3)]
        assert gone[row.name][1:4] == cells
    assert one.greedy is not None
    order = rows_of(text, "## Layers taken away one after another: Books")
    assert [int(row[0]) for row in order.values()] == list(one.greedy.order)
    assert [row[1] for row in order.values()] == [number(loss, 3) for loss in one.greedy.losses]
    assert one.probe is not None
    states = rows_of(text, "## What a probe reads off each state")
    assert [row[1] for row in states.values()] == [figure(e, 3) for e in one.probe.states]
    rates = rows_of(text, "## Which layers a cut keeps: Books")
    for layer in range(LAYERS):
        assert rates[str(layer)] == [f"{100 * k.rates.overall[layer]:.0f} %" for k in one.kept]
    halves = rows_of(text, "## Do two halves of the requests agree")
    for name, c in one.criteria.items():
        for half in c.halves:
            assert figure(Estimate(half.mean, half.low, half.high)) in halves[name]
    between = rows_of(text, "## Between data sets (listwise)")
    stable = run.stability["listwise"]
    assert between == {name: [figure(tau)] for name, tau in stable.items()}
    losses = rows_of(text, "## Between losses: Books")
    agreed = run.losses_agree["Books"]
    assert losses == {name: [figure(t) for t in pairs.values()] for name, pairs in agreed.items()}


def test_fisher_by_kind_of_weight(run: Findings, written: list[Path]) -> None:
    text = written[0].read_text(encoding="utf-8")
    arrays = run.each[0].measured.found["fisher-empirical"].arrays
    matrices = np.stack([one["matrices"] for one in arrays])
    part = text.split("## Fisher information by kind of weight", 1)[1]
    rows = rows_of("\n" + part, "### Books")
    for n, name in enumerate(kind_names(9)):
        share = 100 * matrices[:, :, n].sum() / matrices.sum()
        shown, ratio, layer = rows[f"`{name}`"]
        assert shown == f"{share:.1f}"
        assert ratio == figure(band_ratio(matrices[:, :, n]))
        assert int(layer) == int(matrices[:, :, n].mean(axis=0).argmax())
    assert list(kind_names(9)) == sorted(kind_names(9))
    assert list(kind_names(11)) == sorted(kind_names(11))
    tied = outside_table(run.each[0])
    # 9 − 3 − 5: what both parts of the tied matrix have in common.
    assert "| of that, the cross term (tied − embedding − head) | 1 |" in tied
    assert "two matrices here" in outside_table(run.each[1])


def test_the_pictures_are_beside_the_page(written: list[Path]) -> None:
    page, *pictures = written
    names = ["profiles", "heat", "taus-1", "taus-2", "taus-3", "removals", "probe"]
    assert [file.name for file in pictures] == [f"layers-{name}.svg" for name in names]
    linked = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", page.read_text(encoding="utf-8"))
    assert linked == [file.name for file in pictures]
    for file in pictures:
        root = ET.parse(file).getroot()
        assert root.tag.endswith("svg")
        assert "<text" in file.read_text(encoding="utf-8")


def test_the_same_run_is_the_same_bytes(run: Findings, written: list[Path], tmp_path: Path) -> None:
    with rc_context({"axes.linewidth": 9, "svg.fonttype": "path", "figure.facecolor": "black"}):
        again = write_report(
            tmp_path / "layers.md", run, date="2026-11-24", command="recsys importance -c Books"
        )
    for one, other in zip(written, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_a_hostile_name_stays_a_name(tmp_path: Path) -> None:
    names = ("gate-fisher", "loo-loss")
    run = findings([measured(HOSTILE, names=names)], resamples=RESAMPLES)
    page, *pictures = write_report(
        tmp_path / "r.md", run, date="2026-11-24", command="recsys importance -c '```\n# x'"
    )
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<b>|\x1b|\u202e|^# Toys", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)\]\(http", text)
    shown = escaped(HOSTILE)
    assert shown.startswith(r"Bo\|oks &lt;b&gt;\`x\`&lt;/b&gt; \](http://x) # Toys")
    assert f"## Shape and truth: {shown}" in text
    assert text.endswith("````bash\nrecsys importance -c '``` # x'\n````\n")
    for file in pictures:
        ET.parse(file)
        assert "$a$" in file.read_text(encoding="utf-8") or "heat" in file.name


def test_figures_of_a_synthetic_sample_are_no_results(tmp_path: Path) -> None:
    run = findings([measured("Shop", names=("gate-fisher",), synthetic=True)], resamples=RESAMPLES)
    page, profiles, *_ = write_report(tmp_path / "r.md", run, date="today", command="recsys")
    text = page.read_text(encoding="utf-8")
    assert "**These are figures of a synthetic sample, and no results.**" in text
    assert "## Shape and truth: Shop (synthetic sample)" in text
    assert "Shop (synthetic sample)" in profiles.read_text(encoding="utf-8")
    # Nothing was left out or probed, so there is nothing to say about that.
    assert "left out together" not in text
    assert "## What a probe" not in text


def test_what_is_no_figure_says_why() -> None:
    assert figure(Estimate.none("no | order")) == r"none: no \| order"
    assert figure(Estimate(-0.001, -0.004, 0.002)) == "0.00 [0.00, 0.00]"
    assert figure(None) == "not measured"
    with pytest.raises(ValueError, match="not 2 cells"):
        table(["a", "b"], [["1"]])
    assert code("a\n```\nb").startswith("````\n")


def test_pictures_of_what_was_not_done_are_refused(run: Findings, tmp_path: Path) -> None:
    summary = run.each[1].summary
    for draw in (draw_removals, draw_probe):
        with pytest.raises(ValueError, match=r"no (layers were left out|states were probed)"):
            draw([summary])
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_profiles([])
    with pytest.raises(BadSetting, match=r"\.png or \.svg"):
        write_picture(draw_taus(summary), tmp_path / "a.pdf")


def test_a_picture_shows_the_profile_and_is_white(run: Findings, tmp_path: Path) -> None:
    summary = run.each[0].drawn
    figure_ = draw_profiles([summary])
    axes = {one.get_title(): one for one in figure_.axes}
    assert list(axes) == list(SOME)
    mean = summary.criteria["gate-fisher"].profile.mean
    solid, dashed, *_ = axes["gate-fisher"].lines
    np.testing.assert_allclose(solid.get_ydata(), mean / mean.mean())
    null = summary.criteria["gate-fisher"].null
    assert null is not None
    np.testing.assert_allclose(dashed.get_ydata(), null.mean / null.mean.mean())
    assert dashed.get_linestyle() == "--"
    for name in ("a.png", "b.png"):
        write_picture(figure_, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_taus_are_written_into_their_cells(run: Findings) -> None:
    taus = run.each[0].summary.taus
    texts = [one.get_text() for one in draw_taus(run.each[0].summary).axes[0].texts]
    assert [float(text) for text in texts] == pytest.approx(taus.value.ravel().tolist(), abs=0.051)


def test_a_name_the_font_has_no_letters_for_is_drawn(tmp_path: Path) -> None:
    run = findings([measured("図書", names=("gate-fisher",))], resamples=RESAMPLES)
    for name in ("a.png", "a.svg"):
        write_picture(draw_profiles([run.each[0].drawn]), tmp_path / name)
    assert "図書" in (tmp_path / "a.svg").read_text(encoding="utf-8")
