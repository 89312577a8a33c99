"""Figures of the linear models of all pairs of digits, and of the features that they see. Each is a function of arrays that returns
its figure, without a title; F is the number of features, in the order of the view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from analysis.core.figures.pixels import digit, links, matrix, picture, pixel_map
from analysis.core.figures.scales import MAP, dress, logarithmic, positions
from analysis.core.pairs import View
from analysis.core.statistics import Interval

Pair = tuple[int, int]
RED, BLUE = "#B2182B", "#2166AC"  # of weights that speak for the second digit of a pair, and for the first
SPLIT = {True: "#B35900", False: "#0072B2"}  # of pairs that are separable, and of those where no hyperplane was found


def covariances(view: View) -> Figure:
    """Covariance and correlation in the order of the grid, and correlation in clustered order."""
    figure, axes = plt.subplots(1, 3, figsize=(17, 6), layout="constrained")
    bound, r = float(np.quantile(np.abs(view.covariance), 0.995)), view.correlation
    for ax, values, limit, title in (
        (axes[0], view.covariance, bound, "covariance, order of the grid (row by row)"),
        (axes[1], r, 1.0, "correlation, order of the grid"),
        (axes[2], r[np.ix_(view.clustered, view.clustered)], 1.0, "correlation, clustered order"),
    ):
        figure.colorbar(matrix(values, ax, limit), ax=ax, shrink=0.75)
        ax.set_title(title, fontsize=11)
    return figure


def correlation_maps(view: View) -> Figure:
    """The correlation of the pixel nearest to each of nine places with all others."""
    places = [round(view.side * f) for f in (0.3, 0.5, 0.7)]
    figure, axes = plt.subplots(3, 3, figsize=(10.5, 11), layout="constrained")
    for ax, (y, x) in zip(axes.flat, [(y, x) for y in places for x in places], strict=True):
        pixel = view.nearest(y, x)
        image = pixel_map(view.correlation[pixel], view.kept, view.side, ax, 1)
        cross(view, pixel, ax)
        ax.set_title(f"row {view.row[pixel]}, column {view.column[pixel]}", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.5, label="correlation")
    return figure


def cross(view: View, pixel: int, ax: Axes) -> None:
    """Marks a pixel."""
    ax.plot(view.column[pixel], view.row[pixel], "x", color="black", markersize=9, markeredgewidth=2)


def linked(view: View, strong: pd.DataFrame, background: np.ndarray, ax: Axes) -> None:
    """Links over a picture. strong: as `View.strongest` has them; background: (F,)."""
    ax.imshow(picture(background, view.kept, view.side), cmap="Greys", alpha=0.45)
    links(strong[["first", "second"]].to_numpy(), strong["strength"].to_numpy(), view.kept, view.side, ax)


def dependencies(view: View, strong: Mapping[str, pd.DataFrame]) -> Figure:
    """strong: {what: links, as `View.strongest` has them}."""
    figure, axes = plt.subplots(1, len(strong), figsize=(5 * len(strong), 6), layout="compressed")
    for ax, (title, found) in zip(axes, strong.items(), strict=True):
        linked(view, found, view.class_means.mean(0), ax)
        sizes = found["strength"].abs()
        ax.set_title(f"{len(found)} {title}\n|r| {sizes.min():.2f} to {sizes.max():.2f}", fontsize=10.5)
    return figure


def weight_covariance(
    view: View, pair: Pair, r: np.ndarray, weights: Mapping[str, Mapping[Pair, np.ndarray]], count: int
) -> Figure:
    """Of one pair. r: correlation of its weights (F, F); weights: `pairs.estimates`; count: of the links drawn."""
    error, pixel = weights["error"][pair], int(np.nanargmax(np.abs(weights["z"][pair])))
    order, strong = view.clustered, view.strongest(r, count)
    sizes = np.abs(r[np.triu_indices(len(r), 1)])
    figure, axes = plt.subplots(1, 4, figsize=(20, 5.6), layout="constrained")
    image = matrix(r[np.ix_(order, order)], axes[0], float(np.quantile(sizes, 0.999)))
    errors = axes[1].imshow(picture(error, view.kept, view.side), cmap=MAP)
    axes[1].set(xticks=[], yticks=[], facecolor="0.82")
    around = pixel_map(np.where(np.arange(len(r)) == pixel, np.nan, r[pixel]), view.kept, view.side, axes[2])
    cross(view, pixel, axes[2])
    for ax, shown in zip(axes, (image, errors, around), strict=False):
        figure.colorbar(shown, ax=ax, shrink=0.75)
    linked(view, strong, view.class_means[list(pair)].mean(0), axes[3])
    titles = (
        "correlation of the weights, order clustered as above",
        "standard error of each weight",
        "correlation with the most significant weight (cross)",
        f"{len(strong)} strongest correlations of weights",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=10.5)
    return figure


def weight_maps(view: View, weights: Mapping[str, Mapping[Pair, np.ndarray]], shown: Mapping[Pair, Interval]) -> Figure:
    """A column for each pair of `shown`, which has their accuracies: its weights, Wald's z, and the weights that are significant."""
    figure, axes = plt.subplots(3, len(shown), figsize=(3.1 * len(shown), 9.6), layout="compressed")
    for column, (p, accuracy) in zip(axes.T, shown.items(), strict=True):
        w, significant = weights["weight"][p], weights["significant"][p]
        pixel_map(w, view.kept, view.side, column[0])
        image = pixel_map(weights["z"][p], view.kept, view.side, column[1], 10)
        pixel_map(np.where(significant, w, 0), view.kept, view.side, column[2])
        column[0].set_title(f"{p[0]} against {p[1]}: {100 * accuracy.mean:.1f} %", fontsize=11)
        tested = np.isfinite(weights["z"][p]).sum()
        column[2].set_title(f"{significant.sum()} of {tested} tested are significant", fontsize=10)
    figure.colorbar(image, ax=axes[1], shrink=0.9, label="weight / standard error")
    for ax, text in zip(axes[:, 0], ("weights", "Wald z", "significant weights"), strict=True):
        ax.set_ylabel(text, fontsize=11)
    return figure


def wald(
    view: View, weights: Mapping[str, Mapping[Pair, np.ndarray]], shown: Sequence[Pair], count: int = 20
) -> Figure:
    """The most significant weights of each pair with their 95 % Wald intervals."""
    figure, axes = plt.subplots(1, len(shown), figsize=(5 * len(shown), 6), layout="constrained")
    for ax, p in zip(axes, shown, strict=True):
        w, spread = weights["weight"][p], norm.ppf(0.975) * weights["sampling_error"][p]
        top = np.argsort(-np.abs(np.nan_to_num(weights["z"][p])))[:count][::-1]
        for y, i in enumerate(top):
            color = RED if w[i] > 0 else BLUE
            ax.errorbar(w[i], y, xerr=spread[i], fmt="o", color=color, capsize=3, markersize=4)
        ax.axvline(0, color="0.4", linewidth=0.8)
        marks = ["" if weights["significant"][p][i] else " (n.s.)" for i in top]
        names = [f"row {view.row[i]}, col {view.column[i]}{mark}" for i, mark in zip(top, marks, strict=True)]
        ax.set_yticks(range(len(top)), names)
        ax.set(title=f"{p[0]} against {p[1]}", xlabel="weight per standard deviation of the pixel")
    return figure


def mosaic(view: View, weight: Mapping[Pair, np.ndarray], accuracy: Mapping[Pair, Interval]) -> Figure:
    """All pairs: weights below the diagonal, mean digits on it, test accuracy in per cent above it."""
    scale = plt.cm.ScalarMappable(plt.Normalize(100 * min(a.mean for a in accuracy.values()), 100), MAP)
    figure, axes = plt.subplots(10, 10, figsize=(13, 13.8), gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    figure.subplots_adjust(0.04, 0.02, 0.9, 0.88)
    for i, j in np.ndindex(10, 10):
        ax = axes[i, j]
        if i == j:
            digit(picture(view.class_means[i], view.kept, view.side), ax)
        elif i > j:
            pixel_map(weight[j, i], view.kept, view.side, ax)
        else:
            value = 100 * accuracy[i, j].mean
            face = scale.to_rgba(np.array([value]))[0]
            ax.set(facecolor=face, xticks=[], yticks=[], box_aspect=1)
            color = "white" if np.dot(face[:3], (0.299, 0.587, 0.114)) < 0.5 else "black"
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 13, "color": color}
            ax.text(0.5, 0.5, f"{value:.1f}", transform=ax.transAxes, **style)
    for k in range(10):
        axes[0, k].set_title(str(k), fontsize=13, color=BLUE)
        axes[k, 0].set_ylabel(str(k), fontsize=13, rotation=0, labelpad=12, va="center", color=RED)
    figure.colorbar(scale, cax=figure.add_axes((0.92, 0.3, 0.015, 0.4)), label="test accuracy, %")
    return figure


def worst(errors: pd.DataFrame, shown: Mapping[Pair, Interval], across: int = 12) -> Figure:
    """A row for each pair of `shown`, which has their accuracies: its wrong test digits, the surest error first. errors: by
    pair, with image, label and probability of the wrong digit."""
    size = (14, 1.75 * len(shown) + 1.2)
    figure, axes = plt.subplots(len(shown), across, figsize=size, layout="constrained", squeeze=False)
    for row, (p, accuracy) in zip(axes, shown.items(), strict=True):
        surest = errors.loc[[p]].sort_values("probability", ascending=False).head(across)
        for ax in row[len(surest) :]:
            ax.set_visible(False)
        for ax, (_, e) in zip(row, surest.iterrows(), strict=False):
            digit(np.frombuffer(e["image"], np.uint8).reshape(28, 28), ax)
            ax.set_title(f"{e['label']} taken for {sum(p) - e['label']}\n{e['probability']:.2f}", fontsize=9)
        count = f"{p[0]} / {p[1]}\n{round((1 - accuracy.mean) * accuracy.n)} of {accuracy.n}\nwrong"
        row[0].set_ylabel(count, fontsize=10, rotation=0, ha="right", va="center", labelpad=8)
    return figure


def lengths(shown: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel for each entry: the length of each pair's weights over the penalty, coloured by whether its digits are separable.
    shown: {title: `first`, `second`, `l2`, `norm`, `separable` of one student per penalty}."""
    size = (max(9, 6.4 * len(shown)), 5.4)
    figure, axes = plt.subplots(1, len(shown), figsize=size, layout="constrained", squeeze=False)
    for ax, (title, table) in zip(axes[0], shown.items(), strict=True):
        lines = [line.sort_values("l2") for _, line in table.groupby(["first", "second"])]
        split = [bool(line["separable"].any()) for line in lines]
        for line, separable in zip(lines, split, strict=True):
            ax.plot(positions(line["l2"], "l2"), line["norm"], color=SPLIT[separable], alpha=0.6, linewidth=1)
        ax.plot([], [], color=SPLIT[True], label=f"separable: {sum(split)}")
        ax.plot([], [], color=SPLIT[False], label=f"no hyperplane found: {len(split) - sum(split)}")
        dress(ax.xaxis, table["l2"], "l2")
        logarithmic(ax, "y")
        ax.set(ylabel="length of the weights |w|", title=title)
        ax.legend(fontsize=9)
    return figure
