"""What a table of techniques says: which lose nothing, which of them is the fastest, what each adds to those before it.

A table has a line for each technique, setting (size of batch, threads) and seed. Ratios are averaged as ratios: means of logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.core.statistics import Interval, interval

BASELINE = "eager"


def ratio(values: pd.Series) -> Interval:
    """The geometric mean of ratios by seed, and its interval, exp of Student's interval of the logarithms; NaN for one seed."""
    i = interval(np.log(values.dropna().astype(float)))
    return Interval(float(np.exp(i.mean)), float(np.exp(i.low)), float(np.exp(i.high)), i.n)


def lossless(
    table: pd.DataFrame, margin: float, accuracy: str = "val_accuracy", least: str = "val_agreement", floor: float = 0.0
) -> list[str]:
    """The techniques whose `accuracy` is no more than `margin` below the baseline's in any line's seed and setting, and whose `least` is not
    below `floor`. Of a table without the baseline none."""
    base = table.loc[table["technique"] == BASELINE, accuracy]
    if base.empty:
        return []
    means = table.groupby("technique", sort=False)[[accuracy, least]].mean()
    kept = (means[accuracy] >= base.mean() - margin - 1e-9) & (means[least] >= floor - 1e-9)
    return [str(name) for name in means.index[kept]]


def fastest(table: pd.DataFrame, among: Sequence[str]) -> str:
    """The technique with the greatest geometric mean of `speedup`, of those `among`: rounds in which all were slow do not decide."""
    part = table[table["technique"].isin(among)]
    return str(np.log(part["speedup"]).groupby(part["technique"]).mean().idxmax())


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A line for each technique in the order of the table: geometric mean of `speedup` with low, high and n; `least` and `most`, between
    which it is drawn (of two seeds their values, whose interval says little); medians of all else that is a number."""
    lines = []
    for name, part in table.groupby("technique", sort=False):
        i = ratio(part["speedup"])
        medians = part.select_dtypes("number").drop(columns=["speedup", "seed"], errors="ignore").median()
        ends = (i.low, i.high) if i.n > 2 else (part["speedup"].min(), part["speedup"].max())
        drawn = dict(zip(("least", "most"), ends, strict=True))
        lines.append({"technique": name, **medians, "speedup": i.mean, "low": i.low, "high": i.high, "n": i.n, **drawn})
    return pd.DataFrame(lines)


def frontier(table: pd.DataFrame, cost: str, value: str) -> pd.Series:
    """Whether no other line has both less `cost` and no less `value`, or as little cost and more value."""
    c, v = table[cost].to_numpy(), table[value].to_numpy()
    better = (c[None] <= c[:, None]) & (v[None] >= v[:, None]) & ((c[None] < c[:, None]) | (v[None] > v[:, None]))
    return pd.Series(~better.any(1), index=table.index)


def waterfall(table: pd.DataFrame, chain: Sequence[str]) -> pd.DataFrame:
    """What each technique of a chain, which has all those before it, takes off the baseline's latency: `ms`, that of the baseline over the
    technique's `speedup`; `before`, of the one before it; `factor`, before over after.

    table: a line for each technique, as of `summary`; those of the chain that it has not are left out.
    """
    known = table.set_index("technique")
    there = [technique for technique in chain if technique in known.index]
    if BASELINE not in there:
        return pd.DataFrame(columns=["technique", "ms", "before", "factor"])
    ms = pd.Series([known["latency_ms"][BASELINE] / known["speedup"][technique] for technique in there])
    before = ms.shift(fill_value=ms.iloc[0])
    return pd.DataFrame({"technique": there, "ms": ms, "before": before, "factor": before / ms})


def kinds(operator: str) -> str:
    """What an operator of whatever runtime does, in a word."""
    name = operator.lower()
    for kind, words in KINDS.items():
        if any(word in name for word in words):
            return kind
    return "other"


KINDS = {
    "quantise, dequantise": ("quantizelinear", "dequantize", "quantize_per", "fakequantize"),
    "copies between layouts": ("reorder", "copy_", "contiguous", "clone", "to_copy", "transpose", "convert", "cast"),
    "convolution": ("conv",),
    "matrix product": ("mm", "::linear", "_linear", "gemm", "matmul", "fullyconnected"),
    "batch normalisation": ("norm",),
    "padding": ("pad",),
    "activation": ("relu", "hardtanh", "clip", "clamp", "gelu", "sigmoid", "swish", "silu"),
    "pooling": ("pool", "mean", "reduce", "amax"),
    "sum": ("add", "sum", "eltwise"),
    "compiled kernel": ("cpp_fused", "triton", "aoti", "inductor", "graph", "subgraph"),
}
"""Kinds of operators, by what their names contain; the first that fits counts."""


def profile(operators: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Milliseconds of a call by kind of operator: a line for each value of `by` and kind."""
    named = operators.assign(kind=operators["operator"].map(kinds))
    return named.groupby([*by, "kind"], sort=False)["ms"].sum().reset_index()
