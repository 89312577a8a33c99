"""The figures of a run of temperature x kd_weight: one panel per regime, alike in every study of distillation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from analysis.core.figures.curves import curves, dots
from analysis.core.figures.heatmap import heatmap, scatter
from analysis.core.figures.interactive import interactive
from analysis.core.figures.references import Reference, lines
from analysis.core.figures.scales import scattered
from analysis.core.figures.surface import surface
from analysis.core.report import Page
from analysis.core.settings import PLANE, Regime

Levels = Callable[[Regime], Sequence[Reference]]


@dataclass(frozen=True)
class Planes:
    """Draws into a run. All values are in per cent.

    below: the axis whose values lie below each other (the others lie side by side); title: a regime in words; best: the
    cell that validation chose there, or None. digits: of the numbers in heatmaps. columns: the regimes one after another
    instead, so many in a line. suffix: of the files' names, where a page draws several groups of regimes.
    """

    run: Page
    regimes: Sequence[Regime]
    below: str
    title: Callable[[Regime], str]
    best: Callable[[Regime], Mapping[str, Any] | None]
    digits: int = 1
    columns: int = 0
    suffix: str = ""

    def panels(self, height: float, width: float = 6.6, layout: Any = "constrained", **kwargs: Any):
        """A figure with one panel per regime, and its axes in the order of the regimes."""
        rows = list(dict.fromkeys(r.axes[self.below] for r in self.regimes))
        others = [{**r.axes, self.below: None} for r in self.regimes]
        columns = [other for i, other in enumerate(others) if other not in others[:i]]
        places = [(rows.index(r.axes[self.below]), columns.index(o)) for r, o in zip(self.regimes, others, strict=True)]
        if self.columns:
            places = [divmod(i, self.columns) for i in range(len(self.regimes))]
        shape = max(row for row, _ in places) + 1, max(column for _, column in places) + 1
        size = width * shape[1], height * shape[0]
        figure, axes = plt.subplots(*shape, figsize=size, squeeze=False, layout=layout, **kwargs)
        for place in set(product(*map(range, shape))) - set(places):
            axes[place].set_visible(False)
        return figure, [axes[place] for place in places]

    def span(self, metric: str) -> tuple[float, float]:
        """Round numbers (with one decimal: tens) around all means: one colour scale for all regimes."""
        values = pd.concat([regime.plane(metric)[metric] for regime in self.regimes]).dropna()
        unit = 10 ** (2 - self.digits)
        return unit * (values.min() // unit), unit * -(-values.max() // unit)

    def surfaces(
        self, metric: str, heading: str, references: Levels, more: Levels | None = None, note: str = "",
        limits: tuple[float, float] = (0, 100), turn: bool = True,
    ) -> None:  # fmt: skip
        """surfaces.png, all on the same axes, and each as HTML to turn unless told not to. references: planes of both;
        more: further planes where there is room, in the HTML; note: a last line under the title."""
        # no layout engine sees the planes' names
        figure, axes = self.panels(5.8, 7.3, None, subplot_kw={"projection": "3d"})
        width, height = figure.get_size_inches()
        figure.subplots_adjust(1.5 / width, 0.5 / height, 1 - 0.7 / width, 1 - 1.3 / height, wspace=0.3, hspace=0.1)
        colors, name = self.span(metric), metric.replace("_", " ") + ", %"
        for regime, ax in zip(self.regimes, axes, strict=True):
            table, best = regime.plane(metric), self.best(regime)
            surface(table, *PLANE, metric, references(regime), best, limits=limits, colors=colors, ax=ax)
            ax.set_zlabel(name)
            ax.set_title(self.title(regime), fontsize=11)
        figure.suptitle("\n".join(filter(None, (heading, self.run.subtitle, note))), fontsize=11)
        self.run.figure(figure, "surfaces" + self.suffix)
        for regime in self.regimes if turn else ():
            title = f"{heading}: {self.title(regime)}\n{self.run.subtitle}"
            against = [*references(regime), *(more(regime) if more else ())]
            turned = interactive(
                regime.plane(metric), *PLANE, metric, title, against, self.best(regime), limits=limits, colors=colors
            )
            self.run.interactive(turned, f"surface_{regime.name}", self.title(regime))

    def heatmaps(self, metric: str, name: str, heading: str) -> None:
        """<name>.png: the same as numbers, mean and half of the interval; colours share one scale."""
        limits = self.span(metric)
        figure, axes = self.panels(4.4)
        for regime, ax in zip(self.regimes, axes, strict=True):
            table = regime.plane(metric)
            best = self.best(regime)
            if scattered(table, *PLANE):
                scatter(table, *PLANE, metric, best=best, limits=limits, ax=ax)
            else:
                heatmap(table, *PLANE, metric, best=best, limits=limits, ax=ax, digits=self.digits)
            ax.set_title(self.title(regime), fontsize=10.5)
        colors = plt.cm.ScalarMappable(plt.Normalize(*limits), "viridis")
        figure.colorbar(colors, ax=list(axes), label=heading + ", %", shrink=0.7)
        framed = "; framed: chosen on validation" if any(self.best(regime) for regime in self.regimes) else ""
        figure.suptitle(f"{heading}{framed}\n{self.run.subtitle}", fontsize=11)
        self.run.figure(figure, name + self.suffix)

    def over_temperature(self, metric: str, heading: str, references: Levels, note: str = "", top: float = 100) -> None:
        """curves.png: one line per weight with its interval; unlike surfaces and bars it may start above zero."""
        planes = {r.name: r.plane(metric) for r in self.regimes}
        levels = {r.name: references(r) for r in self.regimes}
        seen = [plane["low"].min() for plane in planes.values()]
        seen += [level.value for those in levels.values() for level in those]
        floor = max(0, 10 * (pd.Series(seen).min() // 10))
        figure, axes = self.panels(4.8, 7.6, sharey=True)
        for regime, ax in zip(self.regimes, axes, strict=True):
            table = planes[regime.name]
            if scattered(table, *PLANE):  # points of a search lie on no line: group the weights
                quarters = ["0 to 0.25", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 1"]
                grouped = pd.cut(table["kd_weight"], [0, 0.25, 0.5, 0.75, 1], labels=quarters, include_lowest=True)
                dots(table.assign(kd_weight=grouped.astype(str)), "temperature", metric, "kd_weight", ax=ax)
            else:
                curves(table, "temperature", metric, "kd_weight", ax=ax)
            ax.set_ylim(floor, top)
            lines(levels[regime.name], ax)
            ax.set_title(self.title(regime), fontsize=10.5)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, title="kd_weight (λ)", loc="outside lower center", ncols=len(names))
        said = f"{heading} over the temperature, mean and 95 % interval"
        figure.suptitle("\n".join(filter(None, (said, self.run.subtitle, note))), fontsize=11)
        self.run.figure(figure, "curves" + self.suffix)
