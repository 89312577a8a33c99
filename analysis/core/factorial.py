"""What each of several things that may be on or off does, and what they do together.

In a full factorial of k factors every combination of off (-) and on (+) is measured. The effect of a factor is the mean where
it is on less the mean where it is off; that of an interaction is the same with the product of the signs in place of the
sign: half of what one factor's effect gains when the other is switched on.     Yates 1937; Box, Hunter & Hunter 1978
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.core.statistics import compare

Pair = tuple[Any, Any]
TIMES = " × "


def coded(table: pd.DataFrame, factors: Mapping[str, Pair]) -> pd.DataFrame:
    """The lines whose factors are at one of their two values, which become -1 (off) and 1 (on). factors: {column: (off, on)}."""
    for name, values in factors.items():
        table = table[table[name].isin(values)]
    return table.assign(**{name: table[name].map({off: -1, on: 1}) for name, (off, on) in factors.items()})


def effects(table: pd.DataFrame, factors: Mapping[str, Pair], value: str, seed: str = "seed") -> pd.DataFrame:
    """Every effect and interaction by seed, in the unit of `value`: a line per seed, a column per effect, named by its factors
    with TIMES between them, single ones first. A seed that lacks a combination is left out.

    table: one line per combination and seed.
    """
    lines = coded(table, factors).dropna(subset=[value])
    lines = lines[lines.groupby(seed)[value].transform("size") == 2 ** len(factors)].set_index(seed)
    names = [c for size in range(1, len(factors) + 1) for c in itertools.combinations(factors, size)]
    half = 2 ** (len(factors) - 1)
    found = {
        TIMES.join(c): (np.prod(lines[list(c)], axis=1) * lines[value] / half).groupby(level=0).sum() for c in names
    }
    return pd.DataFrame(found)


def in_pairs(table: pd.DataFrame, factors: Mapping[str, Pair], value: str, names: Mapping[str, str]) -> pd.DataFrame:
    """The mean over all other factors, for each pair of factors and seed: `pair` (their names, TIMES between them), `first` and
    `second` ("off" or "on"), `seed`, and `value`. names: what the factors are called."""
    lines = coded(table, factors).replace({name: {-1: "off", 1: "on"} for name in factors})
    pairs = {}
    for first, second in itertools.combinations(factors, 2):
        means = lines.groupby([first, second, "seed"])[value].mean()
        pairs[called(first + TIMES + second, names)] = means.rename_axis(["first", "second", "seed"])
    return pd.concat(pairs, names=["pair"]).reset_index()


def factorials(table: pd.DataFrame, off: Mapping[str, Any], value: str) -> list[dict[str, Pair]]:
    """{column: (off, on)} of every full factorial that the table holds in a seed at least: several, where a factor has several values
    that are on. off: {column: its value that is off}."""
    on = [[v for v in dict.fromkeys(table[name]) if v != out] for name, out in off.items()]
    found = [dict(zip(off, zip(off.values(), values, strict=True), strict=True)) for values in itertools.product(*on)]
    return [factors for factors in found if len(effects(table, factors, value))]


def judged(by_seed: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Every column of `effects` against 0, as `statistics.compare` has it, by `effect`. names: what the factors are called."""
    return compare({called(name, names): (by_seed[name], 0 * by_seed[name]) for name in by_seed.columns}, ["effect"])


def called(effect: str, names: Mapping[str, str]) -> str:
    """An effect in words: `unfreezing × adaptive rate`."""
    return TIMES.join(names[factor] for factor in effect.split(TIMES))
