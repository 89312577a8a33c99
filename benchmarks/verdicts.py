"""How often a verdict is wrong, and how often there is one: the rule of `analysis.core.choice` beside the usual one.

    python benchmarks/verdicts.py [--worlds 400] [--planes DIR]

The usual rule is a paired t test of the chosen cell against each rival on its own seeds, Holm-corrected. Both are asked about worlds
whose truth is known: cells (5 to 100) with few seeds (2 to 10), a common effect of each seed, noise that is equal, tenfold in one
cell, spread over a decade, or tenfold in half of them, one and the same in every two cells (as where an axis changes nothing), skewed as of
accuracies near 100 %, and validation that shares little or much of the noise of test. And about real planes of 10 or 20 seeds, of which three are drawn again and again: there the truth is what all say.
On the same planes `--decide` is replayed (`studies.harness.race`): from two or three seeds of all cells, further ones for those
that validation leaves open; how many students it took, of those that ten seeds of all cells take, and how far its verdicts are theirs.

A verdict is wrong where a rival that is no worse is told to be worse, or one that is worse by more than the margin to be as good; counted is the share of
worlds with any wrong verdict (family-wise error). Power is the share of the cells that are a point worse and are told so.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from scipy.stats import t as student_t

from analysis.core.choice import choose
from analysis.core.statistics import LEVEL, holm

NOISE = 0.004  # of a seed, as a share: 0.4 points


@dataclass
class Arguments:
    worlds: int = 400
    """simulated of each kind"""
    seeds: tuple[int, ...] = (2, 3, 5, 10)
    """seeds of every cell"""
    cells: tuple[int, ...] = (5, 26, 100)
    """cells of a plane"""
    kinds: tuple[str, ...] = ("equal", "one tenfold", "decade", "half tenfold", "alike in pairs", "skewed")
    """how cells differ in noise"""
    shared: tuple[float, ...] = (0.3, 0.9)
    """correlation of the noise of validation and test"""
    starts: tuple[int, ...] = (2, 3)
    """seeds of all cells with which a race starts"""
    races: int = 40
    """replayed for each plane and start"""
    planes: Path | None = Path(__file__).parent / "planes"
    """folder of real planes"""


def paired(cells: int) -> np.ndarray:
    """The first cell of each cell's pair, (C,)."""
    return np.arange(cells) // 2 * 2


def noise_of(kind: str, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Standard deviation of each cell's noise, (C,)."""
    if kind == "decade":
        return NOISE * 10 ** rng.uniform(-0.5, 0.5, cells)
    if kind == "half tenfold":
        return NOISE * np.where(rng.random(cells) < 0.5, 1, 10)
    if kind == "one tenfold":
        return NOISE * np.where(np.arange(cells) == rng.integers(cells), 10, 1)
    return np.full(cells, NOISE)


def world(
    kind: str, cells: int, seeds: int, shared: float, truth: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """A line per cell and seed, validation beside test. truth: the cells' means, (C,)."""
    size = (cells, seeds)
    draw = (lambda: 1 - rng.exponential(size=size)) if kind == "skewed" else (lambda: rng.standard_normal(size))
    a, b, scale = draw(), draw(), noise_of(kind, cells, rng)[:, None]
    if kind == "alike in pairs":
        a, b = a[paired(cells)], b[paired(cells)]
    common = truth[:, None] + 0.005 * rng.standard_normal(seeds)
    cell, seed = (index.ravel() for index in np.indices(size))
    test, val = common + scale * a, common + scale * (shared * a + np.sqrt(1 - shared**2) * b)
    return pd.DataFrame({"cell": cell, "seed": seed, "val_accuracy": val.ravel(), "test_accuracy": test.ravel()})


def ours(table: pd.DataFrame) -> tuple[int, set[int], set[int]]:
    """The chosen cell, those told to be worse, and those told to be as good."""
    choice = choose(table, ["cell"])
    assert choice
    return choice.best["cell"], *(set(choice.state(state)["cell"]) for state in ("worse", "as good"))


def usual(table: pd.DataFrame) -> tuple[int, set[int], set[int]]:
    """As `ours`, by a paired t test for each rival, Holm-corrected; it tells no cell to be as good."""
    val, test = (table.pivot(index="cell", columns="seed", values=f"{name}_accuracy") for name in ("val", "test"))
    best = int(val.mean(axis=1).to_numpy().argmax())  # cells are numbered
    apart = (test.loc[best] - test).drop(index=best)
    error = apart.std(axis=1, ddof=1) / np.sqrt(apart.shape[1])
    p = 2 * student_t.sf(np.abs(apart.mean(axis=1)) / error, apart.shape[1] - 1)
    p[apart.mean(axis=1) <= 0] = 1
    return best, set(apart.index[holm(p) < 1 - LEVEL]), set()


def wrong(verdict: tuple[int, set[int], set[int]], truth: np.ndarray, margin: float = 0.005) -> bool:
    best, worse, good = verdict
    return any(truth[c] >= truth[best] for c in worse) or any(truth[best] - truth[c] > margin for c in good)


def decided(table: pd.DataFrame, order: np.ndarray, start: int) -> tuple[pd.DataFrame, int]:
    """The cells as a race leaves them that starts with so many seeds of each, and the students it trained. order: of the seeds."""
    known = table[table["seed"].isin(order[:start])]
    for further in order[start:]:
        choice = choose(known, ["cell"], by="val_accuracy", report="val_accuracy")
        assert choice
        left = choice.cells[choice.cells["state"].isin(["chosen", "open"])]["cell"]
        if len(left) < 2:
            break
        known = pd.concat([known, table[table["cell"].isin(left) & (table["seed"] == further)]])
    return known, len(known)


def raced(a: Arguments, rng: np.random.Generator) -> None:
    """What seeds where they matter take, and whether their verdicts are those of ten seeds of all cells: on validation, as a race decides."""
    print(
        "\nraces: students, of those that ten seeds of all cells take (least and most); of the rivals that these tell to be worse, those that"
    )
    print(
        "the race tells too; cells that the race tells to be as good and these worse; the other way round; open cells of both"
    )
    for file in sorted((a.planes or Path()).glob("*.parquet")):
        table = pd.read_parquet(file)
        for start in a.starts:
            found = []
            for _ in range(a.races):
                order = rng.permutation(table["seed"].unique())
                known, students = decided(table, order, start)
                ten = table[table["seed"].isin(order[:10])]
                race, uniform = (states(each) for each in (known, ten))
                line = (
                    students / len(ten),
                    100 * len(race["worse"] & uniform["worse"]) / max(1, len(uniform["worse"])),
                    len(race["as good"] & uniform["worse"]),
                    len(race["worse"] & uniform["as good"]),
                    len(race["open"]),
                    len(uniform["open"]),
                )
                found.append(line)
            ratio, *counts = np.mean(found, axis=0)
            text = "   ".join(f"{x:4.1f}" for x in counts)
            least, most = min(found)[0], max(found)[0]
            print(f"{file.stem}: from {start} seeds:  {ratio:.2f} ({least:.2f} to {most:.2f})   {text}", flush=True)


def states(table: pd.DataFrame) -> dict[str, set[int]]:
    """The cells of each state, judged on validation."""
    choice = choose(table, ["cell"], by="val_accuracy", report="val_accuracy")
    assert choice
    return {state: set(choice.state(state)["cell"]) for state in ("worse", "as good", "open")}


def simulated(a: Arguments, rng: np.random.Generator) -> None:
    print(
        "\nsimulated: family-wise errors among equals and among unequals, power for cells a point worse, in per cent; of each: usual, ours"
    )
    for kind, cells, seeds, shared in itertools.product(a.kinds, a.cells, a.seeds, a.shared):
        best = max(2, cells // 5)
        count = np.zeros((2, 3))
        for _ in range(a.worlds):
            truth = rng.permutation(np.where(np.arange(cells) < best, 0.9, 0.89))
            if kind == "alike in pairs":
                truth = truth[paired(cells)]
            equal, unequal = (world(kind, cells, seeds, shared, mean, rng) for mean in (np.full(cells, 0.9), truth))
            for row, rule in enumerate((usual, ours)):
                chosen, worse, _ = verdict = rule(unequal)
                below = set(np.flatnonzero(truth < truth[chosen]))
                power = len(worse & below) / len(below) if below else 0.0
                count[row] += [wrong(rule(equal), np.full(cells, 0.9)), wrong(verdict, truth), power]
        text = "   ".join(f"{x:5.1f} {y:5.1f}" for x, y in 100 * count.T / a.worlds)
        print(f"{kind:13} {cells:4} cells {seeds:3} seeds, validation shares {shared:.1f}:  {text}", flush=True)


def real(a: Arguments, rng: np.random.Generator) -> None:
    """Of a plane of many seeds few are drawn; the truth is the mean of all."""
    print(
        "real planes: few of their seeds drawn; family-wise errors, rivals told to be worse and as good; of each: usual, ours"
    )
    for file in sorted((a.planes or Path()).glob("*.parquet")):
        table = pd.read_parquet(file)
        truth = table.groupby("cell")["test_accuracy"].mean().to_numpy()
        every = table["seed"].unique()
        for seeds in (n for n in a.seeds if n < len(every)):
            count = np.zeros((2, 3))
            for _ in range(a.worlds):
                drawn = table[table["seed"].isin(rng.choice(every, seeds, replace=False))]
                for row, rule in enumerate((usual, ours)):
                    verdict = rule(drawn)
                    count[row] += [100 * wrong(verdict, truth), len(verdict[1]), len(verdict[2])]
            text = "   ".join(f"{x:5.1f} {y:5.1f}" for x, y in count.T / a.worlds)
            print(f"{file.stem}: {len(truth)} cells, {seeds:2} of {len(every)} seeds:  {text}", flush=True)


def main() -> None:
    a = tyro.cli(Arguments, description=__doc__)
    rng = np.random.default_rng(0)
    real(a, rng)
    raced(a, rng)
    simulated(a, rng)


if __name__ == "__main__":
    main()
