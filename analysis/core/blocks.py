"""The figures that several pages draw, one call each: a table in, a figure of panels in the run and its report.

Every block takes a tidy table with one line per student (or seed) and the names of its columns; it takes means over seeds itself.
`rows` and `columns` name columns whose values make panels, below and beside each other (columns alone wrap into lines); a
panel's title says their values as `Run.named` does. Sizes, shared scales, the legend, and the title with data variant, n, preset
and run come by themselves; so does what stands behind a mean, which a heading need not say. `also(ax, panel)` adds what one page alone has to a panel, before its limits are final. Of a table without
lines nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from types import MappingProxyType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.core import statistics, tell
from analysis.core.figures import pixels
from analysis.core.figures.bars import bars as horizontal
from analysis.core.figures.curves import curves, dots
from analysis.core.figures.heatmap import confusion, heatmap, scatter
from analysis.core.figures.interactive import interactive
from analysis.core.figures.paths import ringed
from analysis.core.figures.references import Reference, lines
from analysis.core.figures.scales import MAP, ends, label, logarithmic, number, ordered, palette, reach, scattered
from analysis.core.figures.surface import surface
from analysis.core.report import Run
from analysis.core.settings import select

Levels = Sequence[Reference] | Callable[[Mapping[str, Any]], Sequence[Reference]]
"""Levels that all panels are read against, or those of a panel, given the values of its columns."""
Also = Callable[[Axes, "Panel"], Any]
Bar = tuple[str, Sequence[float] | pd.Series, str]
"""What a bar is called, its values by seed (shares as fractions; one value where it is no mean of ours), and what it is."""
BESIDE = 3  # panels in a line where nothing says otherwise
PUBLISHED = "published"  # what a bar is that is not ours
HALF = "± half of the 95 % interval"  # what stands beside a mean in numbers
MORE, LESS, TOLD, OPEN = (
    "#D55E00",
    "#009E73",
    "#0072B2",
    "0.55",
)  # of differences: a loss, a gain, told from 0, not told


@dataclass(frozen=True)
class Panel:
    """The lines of a table that one panel draws. values: of the columns that make panels; place: row and column."""

    values: Mapping[str, Any]
    table: pd.DataFrame
    title: str
    place: tuple[int, int]


def panels(
    run: Run, table: pd.DataFrame, rows: Sequence[str] = (), columns: Sequence[str] = (), wrap: int = BESIDE
) -> list[Panel]:
    """The panels of a table, in the order of the planned values of an axis, of categories, or of the table."""
    if table.empty:  # which may lack columns
        return []
    rows, columns = _names(rows), _names(columns)
    down, across = (_combinations(run, table, names) for names in (rows, columns))
    found = []
    for i, j in product(range(len(down)), range(len(across))):
        values = {**dict(zip(rows, down[i], strict=True)), **dict(zip(columns, across[j], strict=True))}
        part = select(table, values)
        if len(part):
            found.append(Panel(values, part, run.named(values), (i, j) if rows else divmod(j, wrap)))
    return found


def grid(
    shown: Sequence[Panel], width: float, height: float, layout: Any = "constrained", **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with a place for each panel, of so many inches, and their axes; places without a panel are blank."""
    shape = tuple(max(panel.place[k] for panel in shown) + 1 for k in (0, 1))
    size = max(width * shape[1], 8.5), height * shape[0] + 1.2  # so wide are the lines of a title
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False, layout=layout, **kwargs)
    for place in set(product(*map(range, shape))) - {panel.place for panel in shown}:
        axes[place].set_visible(False)
    for panel in shown:
        axes[panel.place].set_title(panel.title, fontsize=10.5)
    return figure, [axes[panel.place] for panel in shown]


def plane(
    run: Run, table: pd.DataFrame, x: str, y: str, z: str, heading: str, *, rows: Sequence[str] = (), columns: Sequence[str] = (),
    framed: Sequence[Mapping[str, Any]] = (), levels: Levels = (), more: Levels = (), limits: tuple[float, float | None] | None = None,
    colors: tuple[float, float] | None = None, surfaces: bool = True, turn: bool = True, name: str = "heatmaps", suffix: str = "",
    digits: int = 1, note: str = "", wrap: int = BESIDE, also: Also | None = None, framing: str = "chosen on validation",
    blank: bool = False,
) -> None:  # fmt: skip
    """Means of z over the grid of x and y: surfaces<suffix>.png and a surface to turn for each panel, where both axes are ordered;
    <name><suffix>.png, the same as numbers. A cell that was planned and has no result (a line without z) is a hole.

    framed: cells that are outlined, each with values of panels and of x, y, and perhaps its `state` (see `Choice.frames`);
    `framing` says what the frame means. levels: planes of
    the surfaces; more: further ones of those to turn. limits: of the z axis (0 to 100 for shares; an end that is None leaves room for
    all means and levels); colors: of the colours (round
    numbers around all means). digits: of the numbers. blank: a grid on which nothing is measured yet is drawn too, in `colors`.
    """
    shown = panels(run, table, rows, columns, wrap)
    if not shown:
        return
    kinds = {
        c: table[c].dtype for c in (x, y) if isinstance(table[c].dtype, pd.CategoricalDtype)
    }  # words in their order
    means = [statistics.summarise(panel.table, [x, y], z, holes=True).astype(kinds) for panel in shown]
    if pd.concat(means)[z].isna().all() and not blank:  # of a run that was cut, or whose students failed
        return
    colors = colors or _round(pd.concat(means)[z], digits)
    frames = [
        [{k: cell[k] for k in (x, y, "state") if k in cell} for cell in framed if _belongs(cell, panel.values)]
        for panel in shown
    ]
    numbers = all(pd.api.types.is_numeric_dtype(table[axis]) for axis in (x, y))
    if surfaces and numbers and any(min(t[x].nunique(), t[y].nunique()) > 1 for t in means):
        known = [pd.concat(means)[z].max(), *(level.value for panel in shown for level in _of(levels, panel))]
        low, high = limits or ((0, 100) if ends(z) else colors)
        span = low, (1.15 * max(known) if high is None else high)
        _surfaces(run, shown, means, (x, y, z), heading, frames, levels, span, colors, note, suffix, framing, wrapped=not rows)
        for panel, mean, cells in zip(shown, means, frames, strict=True) if turn else ():
            title = f"{heading}: {panel.title}\n{run.subtitle}" if panel.title else f"{heading}\n{run.subtitle}"
            against = [*_of(levels, panel), *_of(more, panel)]
            turned = interactive(mean, x, y, z, title, against, cells, limits=span, colors=colors)
            called = "_".join(["surface", *(str(v) for v in panel.values.values())]) if panel.values else "surface"
            run.interactive(turned, called + suffix, panel.title or heading)
    cells_across = max(len(ordered(t[x])) for t in means)
    figure, axes = grid(
        shown, max(4.6, 0.75 * cells_across + 2.2), max(3.2, 0.5 * max(len(ordered(t[y])) for t in means) + 1.3)
    )
    many = 0  # seeds of a cell whose numbers are written
    for panel, mean, cells, ax in zip(shown, means, frames, axes, strict=True):
        if numbers and scattered(mean, x, y):
            scatter(mean, x, y, z, cells, colors, ax)
        else:
            heatmap(mean, x, y, z, cells, colors, digits, ax)
            many = max(many, mean["n"].max())
        if also:
            also(ax, panel)
    scale = plt.cm.ScalarMappable(plt.Normalize(*colors), MAP)
    figure.colorbar(scale, ax=axes, label=label(z), shrink=0.7)
    key = _key(f"framed: {framing}", frames, means, z, {"as good": "thin", "open": "dashed", "worse": "no frame"})
    run.finish(figure, name + suffix, _told(_spread(heading, many, HALF), key), note)


def learning(
    run: Run, table: pd.DataFrame, x: str, y: str, heading: str, *, per: str, rows: Sequence[str] = (), columns: Sequence[str] = (),
    colors: Mapping[str, Any] | None = None, levels: Levels = (), limits: tuple[float | None, float | None] | None = None,
    log: bool = False, marker: str = "o", name: str = "learning", note: str = "", wrap: int = BESIDE, also: Also | None = None,
    xlabel: str = "", ylabel: str = "", legend: str | None = None, size: tuple[float, float] = (6.4, 4.2), share: Any = True,
    framed: Sequence[Mapping[str, Any]] = (),
) -> None:  # fmt: skip
    """<name>.png: means of y over x, a line with its interval for each value of `per`; points where x is of a search.

    colors: of the values of `per`, in the order they are drawn; `scales.palette` unless given. limits: of the y axis (0 to 100 for
    shares); where one is None, it leaves room for all lines and levels. log: a logarithmic x axis. legend: its title, `per` in words
    unless given. share: see `sharey` of plt.subplots. framed: as of `plane`; the chosen ones are ringed.
    """
    shown = panels(run, table, rows, columns, wrap)
    if not shown:
        return
    figure, axes = grid(shown, *size, sharey=share)
    tints = colors or palette(ordered(table[per]))  # the same in all panels
    rings = [cell for cell in framed if cell.get("state") == "chosen" and {x, per} <= cell.keys()]
    holes = x in run.axes  # what was planned and has no result breaks a line
    means = [statistics.summarise(panel.table, [per, x], y, holes) for panel in shown]
    for panel, mean, ax in zip(shown, means, axes, strict=True):
        apart = x in run.axes and mean[x].nunique() == len(mean) and mean[per].nunique() > 1
        if len(mean) > 4 and apart:  # a search: its points lie on no line
            quarters = _quarters(mean, per)
            dots(quarters, x, y, per, colors if quarters is mean else None, ax)
        else:
            curves(mean, x, y, per, tints, marker, ax)
        if log:
            logarithmic(ax, "x")
        ax.set(xlabel=xlabel or label(x), ylabel=(ylabel or label(y)) if panel.place[1] == 0 else "")
        ringed(panel.table, x, y, per, tints, rings, ax)
        ax.dataLim.update_from_data_y([level.value for level in _of(levels, panel)], ignore=False)
    for panel, ax in zip(shown, axes, strict=True):  # an open limit is that of all panels which share the axis
        ax.autoscale_view(scalex=False)
        if limits != (None, None) and (limits or ends(y)):
            ax.set_ylim(*(limits or (0, 101)))
        if also:
            also(ax, panel)
        lines(_of(levels, panel), ax)
    _legend(figure, axes, label(per) if legend is None else legend, _called(run, per))
    heading = _told(_spread(heading, _seeds(means)), "ring: chosen on validation" * bool(rings))
    run.finish(figure, name, heading, _sourced(note, levels, shown))


def facets(
    run: Run, table: pd.DataFrame, draw: Also, heading: str, *, name: str, rows: Sequence[str] = (), columns: Sequence[str] = (),
    size: tuple[float, float] = (6.4, 4.2), wrap: int = BESIDE, note: str = "", share: Any = False, scale: ScalarMappable | None = None,
    unit: str = "%", legend: str = "", spread: bool = False,
) -> None:  # fmt: skip
    """<name>.png: what one page alone draws, `draw(ax, panel)` in each panel, and one legend of all that they name, or the `scale` of
    their colours in its unit. legend: its title. share: see `sharey` of plt.subplots. spread: whether means over the seeds are drawn with
    their intervals; the seeds are those of the table, or its column `n`."""
    shown = panels(run, table, rows, columns, wrap)
    if not shown:
        return
    figure, axes = grid(shown, *size, sharey=share)
    for panel, ax in zip(shown, axes, strict=True):
        draw(ax, panel)
        if share and panel.place[1]:
            ax.set_ylabel("")
    _legend(figure, axes, legend)
    if scale is not None:
        figure.colorbar(scale, ax=axes, label=unit, shrink=0.8)
    seeds = 0 if not spread else table["n"].max() if "n" in table else table["seed"].nunique()
    run.finish(figure, name, _spread(heading, seeds), note)


def confusions(
    run: Run, students: pd.DataFrame, heading: str, *, columns: Sequence[str] = (), classes: Sequence[str] = (), name: str = "confusions"
) -> None:  # fmt: skip
    """<name>.png: which class of test images these students call which, in per cent of the true class, summed over a panel's students.
    Nothing where the run has no such table. classes: their names by label; unless given the user's own, CIFAR-10's, or numbers."""
    found = run.table("confusions")
    if found.empty or students.empty:
        return
    own, cifar = run.table("classes"), set(run.cells.get("dataset", ())) == {"cifar10"}
    names = list(own.sort_values("label")["class"]) if len(own) else [*classes] or [*tell.CIFAR] * cifar
    most = 1 + int(found[["truth", "answer"]].to_numpy().max())
    names += map(str, range(len(names), most))

    def draw(ax: Axes, panel: Panel) -> None:
        lines = found[found["student"].isin(panel.table["student"])]
        counts = lines.pivot_table(index="truth", columns="answer", values="images", aggfunc="sum")
        counts = counts.reindex(index=range(len(names)), columns=range(len(names))).fillna(0)
        confusion(counts.div(counts.sum(axis=1).clip(lower=1), axis=0).to_numpy(), names, ax)

    known = students[students["student"].isin(found["student"])]
    panels = known.groupby([*columns], dropna=False).size() if columns else pd.Series([len(known)])
    of = tell.count(int(panels.iloc[0]), "student") if panels.nunique() == 1 else "its students"
    lost = f" ({len(students) - len(known)} without answers left out)" * (len(known) < len(students))
    several = len(panels) > 1
    note = f"rows: the truth; per cent of it, summed over {of}{' of a panel' * several}{lost}"
    note += f"; colours: the errors{', on a scale of each panel' * several}"
    facets(run, known, draw, heading, name=name, columns=columns, size=(6.6, 5.6), note=note, wrap=2)


def drawn(figure: Callable[..., Any], *how: Any) -> Also:
    """A drawing of `figures`, which takes a table first and an Axes last, as panels call it: of their own lines."""

    def draw(ax: Axes, panel: Panel) -> None:
        figure(panel.table, *how, ax)

    return draw


def nought(ax: Axes, panel: Panel) -> None:
    """A line at 0, for differences, and an axis that holds it."""
    ax.axhline(0, color="0.5", linewidth=0.8, zorder=0)
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 0), max(high, 0))


def ladder(
    run: Run, bars: Sequence[Bar], metric: str, heading: str, kinds: Mapping[str, str], *, published: Mapping[str, float] = MappingProxyType({}),
    limit: float | None = None, descending: bool | None = False, digits: int = 1, name: str = "ladder", note: str = "",
) -> None:  # fmt: skip
    """<name>.png: bars from 0 with intervals, the least on top (`descending`: the greatest; None: in their order); one without values is
    left out. kinds: {what a bar is: its colour}, which make the legend. published: what others found, as fractions where it is a share,
    by what it is called. limit: end of the axis (100 for shares)."""
    rungs = [*bars, *((text, [value], PUBLISHED) for text, value in published.items())]
    lines = [(text, kind, value) for text, values, kind in rungs for value in values]
    table, kinds = pd.DataFrame(lines, columns=["name", "kind", metric]).dropna(), {**kinds, PUBLISHED: "0.85"}
    means = statistics.summarise(table, ["name", "kind"], metric)
    if descending is None:
        order = {key: i for i, key in enumerate(dict.fromkeys(table["name"]))}
        means = means.sort_values("name", key=lambda column: column.map(order), ignore_index=True)
    else:
        means = means.sort_values(metric, ascending=not descending, ignore_index=True)
    means = means.assign(color=means["kind"].map(kinds), given=means["kind"] == PUBLISHED)
    longest = float((means[metric] + reach(means, metric)[1]).max())
    end = limit or (100 if ends(metric) and metric.endswith("accuracy") else 1.25 * longest)
    heights = means["name"].str.count("\n") + 1
    figure, ax = plt.subplots(figsize=(10, 0.34 * heights.sum() + 0.16 * len(means) + 1.6), layout="constrained")
    horizontal(means, "name", metric, hue="color", limit=end, ax=ax, digits=digits, given="given")
    used = [kind for kind in kinds if kind in set(means["kind"])]
    if len(used) > 1:
        figure.legend(
            handles=[Patch(color=kinds[k], label=k) for k in used], loc="outside lower center", ncols=4, fontsize=9
        )
    run.finish(figure, name, _spread(heading, _seeds([means]), HALF), note)


def forest(
    run: Run, table: pd.DataFrame, heading: str, *, y: str, rows: Sequence[str] = (), columns: Sequence[str] = (), xlabel: str,
    better: str = "", name: str = "differences", note: str = "", also: Also | None = None, wrap: int = BESIDE,
) -> None:  # fmt: skip
    """<name>.png: differences of shares with their intervals, a line for each value of `y`, filled and coloured where they are told from 0.

    table: as `statistics.compare` makes it, with a column of words `y`, whose order is that of its categories, else of the
    lines. What `also` labels stands in the legend. better: "more" or "less", the side that is coloured as a
    gain; without one both sides have one colour.
    """
    shown, names = panels(run, table, rows, columns, wrap), _known(table[y])
    if not shown:
        return
    sides = {"less": (MORE, LESS), "more": (LESS, MORE)}.get(better, (TOLD, TOLD))
    tint = dict(zip(("more", "less"), sides, strict=True))
    figure, axes = grid(shown, 4.6, 0.42 * len(names) + 0.8, sharey=True)
    for panel, ax in zip(shown, axes, strict=True):
        ax.axvline(0, color="0.3", linewidth=1)
        drawn = panel.table[["mean", "low", "high"]].mul(100).assign(n=panel.table["n"])
        within = np.minimum(reach(drawn, "mean"), [100 + drawn["mean"], 100 - drawn["mean"]])
        for (_, line), error, (_, value) in zip(panel.table.iterrows(), within.T, drawn.iterrows(), strict=True):
            color = tint.get(line["told"], OPEN)
            face = color if line["told"] != "open" else "white"
            at = -names.index(line[y])
            ax.errorbar(
                value["mean"],
                at,
                xerr=error[:, None],
                fmt="o",
                color=color,
                markerfacecolor=face,
                markersize=5,
                capsize=3,
            )
        ax.set(xlabel=xlabel, ylim=(0.6 - len(names), 0.6))
        ax.set_yticks([-i for i in range(len(names))], names, fontsize=9)
        ax.margins(x=0.08)
        if also:
            also(ax, panel)
    said = {"more": "more", "less": "fewer or less"} if better else {"more": "told from 0"}
    marks = [
        Line2D([], [], marker="o", linestyle="", color=tint[way], label=text + " (Holm)" * bool(better))
        for way, text in said.items()
    ]
    marks.append(Line2D([], [], marker="o", linestyle="", color=OPEN, markerfacecolor="white", label="not told from 0"))
    named = {text: mark for ax in axes for mark, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles=[*marks, *named.values()], loc="outside lower center", ncols=3, fontsize=9)
    run.finish(figure, name, _spread(heading, _seeds([table])), note)


def intervals(
    run: Run, table: pd.DataFrame, x: str, y: str, heading: str, *, per: str, rows: Sequence[str] = (), columns: Sequence[str] = (),
    colors: Mapping[str, Any] | None = None, limits: tuple[float | None, float | None] | None = None, log: bool = False,
    join: bool = False, name: str = "intervals", note: str = "", also: Also | None = None, xlabel: str = "", ylabel: str = "",
    size: tuple[float, float] = (6.4, 4.0), share: Any = True,
) -> None:  # fmt: skip
    """<name>.png: points with intervals over the values of x, which need no order, side by side for each value of `per`.

    log: a logarithmic y axis, from half of the least mean above 0 unless `limits` say; an interval that goes on below it ends in an
    arrow, a mean that lies below is a triangle at its edge. join: lines between the points of one `per`.
    """
    shown = panels(run, table, rows, columns)
    if not shown:
        return
    means = [statistics.summarise(panel.table, [per, x], y, holes=join) for panel in shown]
    figure, axes = grid(shown, *size, sharey=share)
    tints, at = colors or palette(ordered(table[per])), {value: i for i, value in enumerate(ordered(table[x]))}
    known, called = (limits or (None,))[0] if log else -math.inf, _called(run, x)
    floors = {p.place: known or _floor(means if share else [mean], y) for p, mean in zip(shown, means, strict=True)}
    for panel, mean, ax in zip(shown, means, axes, strict=True):
        floor = floors[panel.place]
        for i, (value, color) in enumerate(tints.items()):
            part = mean[mean[per] == value]
            place = part[x].map(at).to_numpy(dtype=float) + beside(i, len(tints))
            _whiskered(part, place, y, floor, "o" + "-" * join, str(value), color, ax)
        if log:
            logarithmic(ax, "y")
            ax.margins(y=0.1)
    for panel, ax in zip(shown, axes, strict=True):  # now that all are drawn, for panels may share an axis
        if log:
            ax.set_ylim(bottom=floors[panel.place])
        ax.set_xticks([*at.values()], [called.get(value, value) if isinstance(value, str) else number(value) for value in at])
        ax.set(xlabel=xlabel or label(x), ylabel=(ylabel or label(y)) if panel.place[1] == 0 else "")
        ax.grid(axis="y", which="both", linewidth=0.3)
        if limits:
            ax.set_ylim(*limits)
        if also:
            also(ax, panel)
    _legend(figure, axes, "", _called(run, per))
    run.finish(figure, name, _spread(heading, _seeds(means)), note)


def strips(
    run: Run, table: pd.DataFrame, by: str, heading: str, *, name: str, also: Callable[[Any], str] = str
) -> None:
    """<name>.png: a line of images for each value of the column `by`, in the order of the table, one of each label.

    table: columns `label` and `image` (bytes of a square, grey or of three colours). also: a value of `by` in words.
    """
    if table.empty:
        return
    values, labels = list(dict.fromkeys(table[by])), sorted(set(table["label"]))
    size = 1.05 * len(labels), 1.02 * len(values) + 1.1
    figure, axes = plt.subplots(len(values), len(labels), figsize=size, squeeze=False, layout="constrained")
    for value, places in zip(values, axes, strict=True):
        shown = table[table[by] == value].drop_duplicates("label").set_index("label")["image"]
        for label_, ax in zip(labels, places, strict=True):
            ax.set(xticks=[], yticks=[])
            if label_ in shown.index:
                pixels.photograph(shown[label_], ax)
        places[0].set_ylabel(also(value), rotation=0, ha="right", va="center", fontsize=10)
    run.finish(figure, name, heading)


def beside(i: int, count: int) -> float:
    """Where the i-th of so many stands in `intervals`, from the middle of the place that they share."""
    return 0.7 * ((i + 0.5) / count - 0.5)


def _whiskered(
    part: pd.DataFrame, place: np.ndarray, y: str, floor: float, line: str, text: str, color: Any, ax: Axes
) -> None:
    """Points with intervals on an axis that begins at `floor`."""
    middle, (below, above) = part[y].to_numpy(dtype=float), reach(part, y)
    on = ~(middle < floor)  # a hole breaks the line
    cut = on & (middle - below < floor)
    style: dict[str, Any] = {"color": color, "capsize": 2.5}
    error = [np.where(cut, 0, below)[on], above[on]]
    ax.errorbar(place[on], middle[on], error, fmt=line, markersize=5, label=text, **style)
    if cut.any():  # a little above the edge there is room for the head of the arrow
        down = (middle[cut] - 1.2 * floor).clip(min=0)
        ax.errorbar(place[cut], middle[cut], [down, 0 * down], fmt="none", uplims=True, **style)
    ax.plot(place[~on], np.full((~on).sum(), 1.1 * floor), "v", color=color, markersize=5)


def _floor(means: Sequence[pd.DataFrame], y: str) -> float:
    """Where a logarithmic axis may begin: half of the least mean above 0."""
    values = pd.concat(means)[y]
    return 0.5 * float(values[values > 0].min()) if (values > 0).any() else 1.0


def _surfaces(
    run: Run, shown: Sequence[Panel], means: Sequence[pd.DataFrame], names: tuple[str, str, str], heading: str,
    frames: Sequence[Sequence[Mapping[str, Any]]], levels: Levels, limits: tuple[float, float], colors: tuple[float, float],
    note: str, suffix: str, framing: str, wrapped: bool,
) -> None:  # fmt: skip
    # no layout engine sees the planes' names
    figure, axes = grid(shown, 7.3, 5.6, None, subplot_kw={"projection": "3d"})
    width, height = figure.get_size_inches()
    figure.subplots_adjust(1.6 / width, 0.5 / height, 1 - 0.7 / width, 1 - 1.5 / height, wspace=0.38, hspace=0.12)
    for panel, mean, cells, ax in zip(shown, means, frames, axes, strict=True):
        surface(mean, *names, _of(levels, panel), cells, limits=limits, colors=colors, ax=ax)
        ax.set(zlabel=label(names[2]))
    if wrapped:
        _centre_last(axes)
    key = _key(f"star: {framing}", frames, means, names[2], {"as good": "white", "open": "grey", "worse": "small dot"})
    run.finish(figure, "surfaces" + suffix, _told(_spread(heading, _seeds(means)), key), _sourced(note, levels, shown))


def _key(
    chosen: str, frames: Sequence[Sequence[Mapping[str, Any]]], means: Sequence[pd.DataFrame], z: str, looks: Mapping[str, str]
) -> str:  # fmt: skip
    """How the chosen cells are marked, and how those of other states that are there look: worse are those that no frame has, where
    frames have states. Nothing where there are no frames."""
    there, words = {cell.get("state") for cells in frames for cell in cells}, {"open": "open (seeds cannot tell)"}
    for cells, mean in zip(frames, means, strict=True):
        if any("state" in cell for cell in cells):
            left = mean.drop(index=pd.concat([select(mean, cell) for cell in cells]).index)
            there |= {"worse"} if left[z].notna().any() else set()
    marks = [chosen, *(f"{look}: {words.get(state, state)}" for state, look in looks.items() if state in there)]
    return "; ".join(marks) if there else ""


def _told(heading: str, more: str, mark: str = "; ") -> str:
    """The heading and what more it says, on a line of its own where both are long."""
    if not more:
        return heading
    return f"{heading}{mark}{more}" if len(heading) + len(more) < 85 else f"{heading}\n{more}"


def _seeds(means: Sequence[pd.DataFrame]) -> float:
    """The most seeds that stand behind a mean."""
    return max(mean["n"].max() for mean in means)


def _spread(heading: str, seeds: float, interval: str = "and 95 % interval") -> str:
    """The heading, and in its first line what is shown of so many seeds: of two both values, of one nothing."""
    first, *further = heading.split("\n")
    said = f"mean {interval}" if seeds > 2 else "mean and both seeds" if seeds == 2 else ""
    return "\n".join([_told(first, said, ", "), *further])


def _centre_last(axes: Sequence[Axes]) -> None:
    """Moves the panels of a last line that is not full to its middle, so that no place looks empty."""
    boxes = [ax.get_position() for ax in axes]
    free = max(box.x1 for box in boxes) - boxes[-1].x1
    for ax, box in zip(axes, boxes, strict=True):
        if box.y0 == boxes[-1].y0:
            ax.set_position(box.translated(free / 2, 0))


def _sourced(note: str, levels: Levels, shown: Sequence[Panel]) -> str:
    """The note, and where the levels that are drawn dashed are published."""
    sources = dict.fromkeys(level.source for panel in shown for level in _of(levels, panel) if level.source)
    new = "; ".join(source for source in sources if source not in note)
    return "\n".join(filter(None, (note, f"dashed: published, {new}" if new else "")))


def _names(names: Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _combinations(run: Run, table: pd.DataFrame, names: Sequence[str]) -> list[tuple]:
    """The combinations of values that the table has, sorted; one empty one where there are no names."""
    if not names:
        return [()]
    order = {name: run.axes.get(name) or _known(table[name]) for name in names}
    found = table[list(names)].drop_duplicates().itertuples(index=False, name=None)
    return sorted(found, key=lambda values: [order[n].index(v) for n, v in zip(names, values, strict=True)])


def _known(column: pd.Series) -> list:
    return ordered(column) if isinstance(column.dtype, pd.CategoricalDtype) else list(dict.fromkeys(column))


def _belongs(cell: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(cell.get(name, value) == value for name, value in values.items())


def _of(levels: Levels, panel: Panel) -> Sequence[Reference]:
    return levels(panel.values) if callable(levels) else levels


def _round(values: pd.Series, digits: int) -> tuple[float, float]:
    """Round numbers around all values: tens, where they have one decimal."""
    unit = 10.0 ** (2 - digits)
    low, high = unit * math.floor(values.min() / unit), unit * math.ceil(values.max() / unit)
    return low, high if high > low else low + unit


def _quarters(table: pd.DataFrame, per: str) -> pd.DataFrame:
    """The groups of a searched axis: quarters of its range."""
    if not pd.api.types.is_numeric_dtype(table[per]):
        return table
    edges = np.linspace(table[per].min(), table[per].max(), 5)
    quarter = np.clip(np.searchsorted(edges, table[per], side="right") - 1, 0, 3)
    names = [f"{a:.2g} to {b:.2g}" for a, b in pairwise(edges)]
    return table.assign(**{per: [names[i] for i in quarter]})


def _called(run: Run, axis: str) -> Mapping[Any, str]:
    """What the values of an axis are called, where the page says it of each."""
    words = run.words.get(axis)
    return words if isinstance(words, Mapping) else {}


def _legend(figure: Figure, axes: Sequence[Axes], title: str, called: Mapping[Any, str] = MappingProxyType({})) -> None:
    """One legend for all panels, of everything that any of them names."""
    named = (of for ax in axes for of in zip(*ax.get_legend_handles_labels(), strict=True))
    found = {called.get(text, text): handle for handle, text in named}
    if found:
        longest = max(map(len, found))
        across = max(1, min(len(found), int(figure.get_figwidth() * 11 / (longest + 6))))
        figure.legend(found.values(), found, title=title or None, loc="outside lower center", ncols=across, fontsize=9)
