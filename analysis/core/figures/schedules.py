"""What was trained when, at which learning rate, and how strongly images were changed: recorded schedules over the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure


def frozen(lines: pd.DataFrame, colors: Mapping[str, str], named: Callable[[dict[str, str]], str]) -> Figure:
    """A panel for each unfreezing (down) and rate (across): the learning rate of every stage, hatched where it was frozen; below, the
    strength of each augmentation.

    lines: `unfreezing`, `rate`, `augmentation`, `depth` of the stage (the head's is least), `stage`, `share` of the training that is
    over in per cent, `rate_used` (0: frozen), `strength`. colors: of the augmentations, in the order in which they are drawn.
    named: values of axes in words.
    """
    most = lines["rate_used"].max()
    kinds, rates = (list(dict.fromkeys(lines.sort_values(name)[name])) for name in ("unfreezing", "rate"))
    size, heights = (6.2 * len(rates) + 1, 2.9 * len(kinds) + 2.4), [2.0] * len(kinds) + [1.0]
    figure = pyplot.figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(heights), len(rates), squeeze=False, sharex=True, height_ratios=heights)
    for (i, kind), (j, rate) in ((a, b) for a in enumerate(kinds) for b in enumerate(rates)):
        part = lines[(lines["unfreezing"] == kind) & (lines["rate"] == rate)]
        mesh = rates_of_stages(part, LogNorm(most / 1e4, most), axes[i, j])
        axes[i, j].set_title(named({"unfreezing": kind, "rate": rate}), fontsize=10)
    for rate, ax in zip(rates, axes[-1], strict=True):
        strengths(lines[lines["rate"] == rate], colors, ax)
    figure.colorbar(
        mesh, ax=axes[:-1], label="learning rate (hatched: frozen)", format="{x:g}", shrink=0.8, extend="min"
    )
    return figure


def rates_of_stages(lines: pd.DataFrame, norm: LogNorm, ax: Axes) -> QuadMesh:
    """The mean learning rate of each stage over the training, the head on top; hatched where it is 0."""
    wide = lines.pivot_table(index="depth", columns="share", values="rate_used", aggfunc="mean")
    edges, used = [*wide.columns, 100.0], np.ma.masked_less_equal(wide.to_numpy(), 0)
    ax.set_facecolor("0.93")
    ax.patch.set(hatch="///", edgecolor="0.7")
    ax.set_yticks(wide.index, lines.groupby("depth")["stage"].first()[wide.index], fontsize=8)
    mesh = ax.pcolormesh(edges, np.arange(len(wide) + 1) - 0.5, used, norm=norm, cmap="viridis", rasterized=True)
    ax.invert_yaxis()
    return mesh


def strengths(lines: pd.DataFrame, colors: Mapping[str, str], ax: Axes) -> None:
    """The strength of each augmentation over the training, as steps."""
    for (kind, color), style in zip(colors.items(), ("--", "-", ":"), strict=False):
        part = lines[lines["augmentation"] == kind].groupby("share")["strength"].first()
        if len(part):
            ax.step([*part.index, 100], [*part, part.iloc[-1]], style, where="post", color=color, label=kind)
    ax.set(ylim=(-0.08, 1.08), xlabel="share of the training, %", ylabel="strength")
    ax.legend(title="augmentation", fontsize=7.5, title_fontsize=7.5)
