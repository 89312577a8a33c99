"""How far the biases of digits that a student never saw are raised: the ways to choose that shift, and the errors that it leaves.

Tables are those of trainables.hinton.MissingDigit. `biases`: for each student, split and shift `bias` the counts
`omitted_errors`, on images of the omitted digits, and `other_errors`. `digits`: for each student, split and digit the counts
`images` and `errors`.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

LEARNT, VALIDATION, KEPT, TEST = WAYS = (
    "bias as learnt",
    "chosen on validation",
    "others not worse",
    "chosen on test (as the paper)",
)
"""No shift; that with the fewest validation errors; that with the fewest on omitted digits of those at which the others have no
more than at 0, both on validation; that with the fewest test errors, which flatters."""

SIDES = {"errors on the omitted digits": "omitted_errors", "errors on the others": "other_errors"}


def shifts(curve: pd.DataFrame) -> dict[str, float]:
    """The shift by each of WAYS; of equals the smallest.     Hinton et al. 2015 (arXiv 1503.02531), section 3, for TEST

    curve: one student's lines of `biases`. IndexError if they have no shift of 0.
    """
    val, test = (curve[curve["split"] == split] for split in ("val", "test"))
    before = val.loc[val["bias"] == 0, "other_errors"].iloc[0]
    harmless = val[val["other_errors"] <= before]
    return {
        LEARNT: 0.0,
        VALIDATION: _least(val, val["omitted_errors"] + val["other_errors"]),
        KEPT: _least(harmless, harmless["omitted_errors"]),
        TEST: _least(test, test["omitted_errors"] + test["other_errors"]),
    }


def raised(biases: pd.DataFrame) -> pd.DataFrame:
    """What each student makes of each way, one line each: its test line of `biases` at that shift, the `way`, and all `errors`
    on test and on validation (`val_errors`)."""
    if biases.empty:  # nobody lacked a digit
        return pd.DataFrame(
            columns=["student", "seed", "omitted", "bias", *SIDES.values(), "errors", "way", "val_errors"]
        )
    lines = []
    both = biases.assign(errors=biases["omitted_errors"] + biases["other_errors"])
    for _, curve in both.groupby("student", sort=False):
        chosen = shifts(curve)
        val, test = (
            curve[curve["split"] == split].set_index("bias").loc[[*chosen.values()]] for split in ("val", "test")
        )
        lines.append(test.assign(way=[*chosen], val_errors=val["errors"].to_numpy()).reset_index())
    return pd.concat(lines, ignore_index=True)


def repetitions(shifted: pd.DataFrame) -> pd.DataFrame:
    """What T and lambda are chosen on, as `choice.choose_each` asks for it: the lines of `raised` at the shift that validation chose,
    with a `kind`. That of all single digits is "single": they have one choice, which each digit and seed repeats (`seed`)."""
    lines = shifted[shifted["way"] == VALIDATION]
    repeated = lines["omitted"] + "-" + lines["seed"].astype(str)
    return lines.assign(kind=lines["omitted"].map(kind), seed=repeated)


def kind(omitted: str) -> str:
    """What shares a choice: single digits do."""
    return "single" if len(omitted) == 1 else omitted


def told_apart(digits: pd.DataFrame, omitted: str) -> pd.DataFrame:
    """`omitted_errors`, on the digits in `omitted`, and `other_errors` of students that saw every digit: a line for each student
    and seed in `digits`, of which one split is given."""
    mine = digits["digit"].astype(str).isin(list(omitted))
    counted = digits.assign(
        omitted_errors=digits["errors"].where(mine, 0), other_errors=digits["errors"].where(~mine, 0)
    )
    return counted.groupby(["student", "seed"], as_index=False)[[*SIDES.values()]].sum()


def by_side(table: pd.DataFrame, images: Callable[[str], int], every: int) -> pd.DataFrame:
    """A line for each side of SIDES (`side`) with its `errors` and its `test_error`, a share. images: how many there are of
    some omitted digits; every: how many of all."""
    own = table["omitted"].map(images)
    sizes = {"omitted_errors": own, "other_errors": every - own}
    sides = [table.assign(side=s, errors=table[c], test_error=table[c] / sizes[c]) for s, c in SIDES.items()]
    return pd.concat(sides, ignore_index=True)


def _least(curve: pd.DataFrame, errors: pd.Series) -> float:
    order = curve.assign(errors=errors, size=curve["bias"].abs()).sort_values(["errors", "size"])
    return float(order["bias"].iloc[0])
