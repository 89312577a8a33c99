"""Numbers and verdicts as the sentences of a page say them. Shares come in as fractions and go out in per cent or points; a page
composes what it finds here and never takes it apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement, product
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from analysis.core.choice import Choice
from analysis.core.records import is_share
from analysis.core.settings import each_further, select
from analysis.core.statistics import Interval, compare, interval, paired

AXES = {"temperature": "T", "kd_weight": "λ"}  # as the field has them
DATA = {"mnist": "MNIST", "mnistm": "MNIST-M", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
NETWORKS = {
    "mlp": "MLP", "cnn": "CNN", "cnn_small": "small CNN", "cnn_pool": "CNN, pooled", "airbench": "own CNN", "airbench_small": "small own CNN",
    "logistic": "logistic regression",
    **{f"resnet{n}": f"ResNet-{n}" for n in (18, 34, 50)}, **{f"vgg{n}": f"VGG-{n}" for n in (11, 16)}, "mobilenet_v2": "MobileNetV2",
    **{f"mobilenet_v3_{size}": f"MobileNetV3 {size}" for size in ("small", "large")},
    **{f"efficientnet_{n.lower()}": f"EfficientNet-{n}" for n in ("B0", "B1", "B2", "lite0", "lite1", "lite2")},
}  # fmt: skip
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")  # by label
TOO_FEW = "too few seeds to tell"  # of a difference of two
ALIKE = "exactly alike"  # in every seed
Values = Interval | pd.Series
"""A mean with its interval, or the values by seed that it is made of."""


def percent(values: Values, digits: int = 1) -> str:
    """`81.7 % (81.2 to 82.1, n = 3)`, of two seeds `81.7 % (81.5 and 81.9, n = 2)`"""
    i = _interval(values)
    if math.isnan(i.low):
        return f"{100 * i.mean:.{digits}f} % (n = {i.n})"
    return f"{100 * i.mean:.{digits}f} % ({_ends(values, lambda v: f'{100 * v:.{digits}f}', 0.0, 1.0)}, n = {i.n})"


def points(values: Values, digits: int = 1) -> str:
    """`+4.1 points (+3.2 to +5.0)`, of a difference of two shares; with a further digit where so many would round to 0"""
    value = _interval(values)
    digits += abs(value.mean) < 0.5 * 10.0 ** -(digits + 2)
    mean = f"{100 * value.mean:+.{digits}f}"
    if math.isnan(value.low):
        return f"{mean} points (n = {value.n}, no interval)"
    return f"{mean} points ({_ends(values, lambda v: f'{100 * v:+.{digits}f}', -1.0, 1.0)})"


def share(values: Values) -> str:
    """`62 % (58 to 66)`"""
    i = _interval(values)
    if math.isnan(i.low):
        return f"{100 * i.mean:.0f} % (n = {i.n})"
    return f"{100 * i.mean:.0f} % ({_ends(values, lambda v: f'{100 * v:.0f}')})"


def number(
    values: Values, digits: int = 0, signed: bool = False, least: float = -math.inf, most: float = math.inf, n: bool = False
) -> str:
    """`107 (82 to 132)`; `least`, `most`: where the quantity ends; n: `107 (82 to 132, n = 3)`"""
    i = _interval(values)
    form = f"{'+' if signed else ''}.{digits}f"
    mean, many = f"{i.mean:{form}}", f"n = {i.n}"
    if math.isnan(i.low):
        return f"{mean} ({many})" if n else mean
    ends = _ends(values, lambda v: f"{v:{form}}", least, most)
    return f"{mean} ({ends}, {many})" if n else f"{mean} ({ends})"


def cell(values: Mapping[Any, Any]) -> str:
    """`T = 8, λ = 0.25`; at a λ of 0 the temperature plays no part and is not named. Other cells: `lr 0.01, width 32`."""
    if not {"temperature", "kd_weight"} <= set(values):
        each = {str(k).replace("_", " "): f"{v:g}" if isinstance(v, float) else v for k, v in values.items()}
        return ", ".join(f"{name} {value}" for name, value in each.items())
    if values["kd_weight"] == 0:
        return "labels only (λ = 0)"
    return f"T = {values['temperature']:.3g}, λ = {values['kd_weight']:.3g}"


def start(weights: str) -> str:
    """Where the weights of a network come from, in words."""
    return {"imagenet": "ImageNet", "random": "random"}.get(weights, f"checkpoint {weights.rpartition('/')[2]}")


def network(name: str) -> str:
    """A network as the field calls it: `MLP 300-300`, `ResNet-18`, `EfficientNet-lite0`; one that is not known, as it is."""
    plain, norm = name.removesuffix("_norm").removesuffix("_bn"), ", normalised" * name.endswith("_norm")
    kind, _, size = plain.partition("_")
    sized = {"mlp": f"MLP {size}-{size}", "perceptron": f"MLP {size}", "convnet": f"ConvNet {size}"}
    return NETWORKS.get(plain, sized.get(kind, plain)) + norm


def data(name: Any) -> str:
    """A data set as the field calls it; one's own, as it is."""
    return DATA.get(name, str(name))


def seconds(value: float) -> str:
    """`0.052`, `1.2`, `16`, `1,234`: a time of which something is left, however short"""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def listing(items: Sequence[str], most: int = 5) -> str:
    """`a; b; c and 4 more`"""
    rest = len(items) - most
    return "; ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")


def count(number: float, noun: str) -> str:
    """`1 rival`, `3 rivals`, `2.5 labels`"""
    return f"{number:,.10g} {noun}{'s' * (number != 1)}"


def span(values: Sequence[float] | pd.Series) -> str:
    """`17 to 19`, or `17` where all are alike"""
    low, high = min(values), max(values)
    return f"{low:,.10g}" if low == high else f"{low:,.10g} to {high:,.10g}"


def capital(text: str) -> str:
    """The text as a sentence begins: `Teacher sees ...`; a λ is no Λ"""
    return text if text.startswith("λ") else text[:1].upper() + text[1:]


def moves(value: Interval, more: str = "a gain", less: str = "a loss") -> str:
    """What an interval of a difference says about its direction; more, less: what it is called above and below 0."""
    if not value.n:
        return "no seed in common"
    if math.isnan(value.low):
        return "one seed, so nothing is known of the noise"
    if value.n == 2 and value.high - value.low < 1e-12 and value.mean:
        return "the same in both seeds, so nothing is known of the noise"
    if value.low <= 0 <= value.high:
        return "not distinguishable from no difference" if value.n > 2 else TOO_FEW
    return more if value.low > 0 else less


def stands(value: Interval, more: str = "better", less: str = "worse") -> str:
    """As `moves`, in the words of an answer: `better`, `worse`, `cannot be told by 3 seeds`, or `exactly alike` in every seed"""
    if value.low == value.high == 0:
        return ALIKE
    is_open = value.n > 1 and value.low <= 0 <= value.high
    return f"cannot be told by {value.n} seeds" if is_open else moves(value, more, less)


def difference(a: pd.Series, b: pd.Series, digits: int = 1, more: str = "a gain", less: str = "a loss") -> str:
    """`+4.1 points (+3.2 to +5.0): a gain`, of a - b by seed"""
    d = paired(a, b)
    return f"{points((a - b).dropna(), digits)}: {moves(d, more, less)}" if d.n else moves(d)


def verdict(line: pd.Series, more: str = "a gain", less: str = "a loss") -> str:
    """`a gain (p = 0.003)` or `not told (p = 0.2)`, of a line of `statistics.compare`, p after its correction; as `moves` where
    nothing is known of the noise"""
    if math.isnan(line["difference"].p):
        return moves(line["difference"])
    size = f"p = {line['p']:.2g}" if line["p"] >= 1e-4 else "p < 0.0001"
    said = {"more": more, "less": less, "open": "not told" if line["difference"].n > 2 else TOO_FEW}
    return f"{said[line['told']]} ({size})"


def judged(line: pd.Series, digits: int = 1, more: str = "a gain", less: str = "a loss") -> str:
    """`+4.1 points (+3.2 to +5.0): a gain (p = 0.003)`, of a line of `statistics.compare`, p after its correction"""
    return f"{points(line['difference'], digits)}: {verdict(line, more, less)}"


def plainly(line: pd.Series, more: str = "better", less: str = "worse") -> str:
    """As `verdict`, in the words of an answer: `better`, `worse`, `cannot be told by 3 seeds`, or `exactly alike` in every seed"""
    told, n = line["told"], line["difference"].n
    if line["difference"].low == line["difference"].high == 0:
        return ALIKE
    if math.isnan(line["difference"].p):
        return moves(line["difference"], more, less)
    return f"cannot be told by {count(n, 'seed')}" if told == "open" else {"more": more, "less": less}[told]


def against(
    each: Mapping[Any, pd.Series], base: pd.Series, more: str = "a gain", less: str = "a loss", digits: int = 1
) -> dict[Any, str]:
    """{name: `+4.1 points (+3.2 to +5.0): a gain (p = 0.003)`}, each less the base by seed, p by Holm over all of them"""
    found = compare({name: (values, base) for name, values in each.items()}, ["name"])
    told = [judged(line, digits, more, less) for _, line in found.iterrows()]
    return dict(zip(found["name"], told, strict=True))


def answer(
    title: str, value: Choice, what: str = "on test", *, metric: str | None = None, digits: int = 1, name: Callable[[Mapping[str, Any]], str] = cell,
    against: Mapping[str, pd.Series] | pd.DataFrame = MappingProxyType({}), more: str = "a gain", less: str = "a loss", most: int = 5,
    then: str = "", family: int = 0,
) -> str:  # fmt: skip
    """`**500 labels**: validation chooses T = 4, λ = 0.5: 81.7 % (...) on test; against the baseline, +4.1 points (...): a gain.
    Of its 20 rivals: ...`

    title: of the setting, or nothing. what: what `metric` is, the reported one unless named. against: by seed, what the chosen cell is
    compared with, several of them with p by Holm over all; where there are no values, nothing is said. Or lines of `statistics.compare`
    with a column `base`, which a figure shows too: judged there, among `family` comparisons. then: a last sentence. The others: as of
    `choice` and `difference`.
    """
    reached = value.by_seed(metric)
    said = [f"alidation chooses {name(value.best)}: {percent(reached, digits)} {what}"]
    there = {} if isinstance(against, pd.DataFrame) else {base: v for base, v in against.items() if len(v)}
    if isinstance(against, pd.DataFrame) or len(there) > 1:  # judged together
        found = against if isinstance(against, pd.DataFrame) else compare({b: (reached, v) for b, v in there.items()}, ["base"])
        each = [f"against {line['base']}, {judged(line, digits, more, less)}" for _, line in found.iterrows()]
        said += ["; ".join([f"p by Holm over {family or len(each)}: {each[0]}", *each[1:]])] if each else []
    else:
        said += [f"against {base}, {difference(reached, values, digits, more, less)}" for base, values in there.items()]
    head = f"**{capital(title)}**: v" if title else "V"
    return f"{head}{'; '.join(said)}. {choice(value, name, most)} {then}".strip()


def choice(value: Choice, name: Callable[[Mapping[str, Any]], str] = cell, most: int = 5) -> str:
    """What a choice is worth: which rivals are as good, which are open, and how many are worse.

    name: a candidate in words. most: how many are named one by one where no ranges of the axes name them; 0: they are only counted.
    """
    if value.rivals.empty:
        return "It has no rival."
    if value.n < 2:
        return "One seed says nothing about noise, so this is no verdict."
    rivals = len(value.rivals)
    if value.stands_out:
        return f"It stands out: {f'all {rivals} rivals are' if rivals > 1 else 'its rival is'} worse."
    within = f" (within {100 * value.margin:.2g} points)" if is_share(value.metric) else ""
    known = {state: len(value.state(state)) for state in ("open", "as good", "worse")}
    if known["open"] == rivals:
        return f"{count(value.n, 'seed')} cannot rank it and its {count(rivals, 'rival')}."
    words = {"as good": f"as good{within}", "open": f"open ({count(value.n, 'seed')} cannot tell)"}
    parts = [f"{known['worse']} worse"] * bool(known["worse"])
    parts += [
        f"{known[state]} {said}" + (f": {region(value, state, name, most)}" if most else "") for state, said in words.items() if known[state]
    ]
    if rivals == 1:
        return f"Its rival is {parts[0].removeprefix('1 ')}."
    return f"Of its {rivals} rivals: {'; '.join(parts)}."


def region(value: Choice, state: str, name: Callable[[Mapping[str, Any]], str] = cell, most: int = 5) -> str:
    """The candidates of a state in words: `T 2 to 8 with λ 0.25 to 0.5`, `λ 0.5 at any T`, where ranges of the axes hold them and nothing
    else, largest first (the chosen one may lie in a range of those that are as good); one by one where they lie on no grid or are few.
    """
    found = value.state(state)
    inside = value.cells["state"].isin([state, *["chosen"] * (state == "as good")]).to_numpy()
    boxes = _boxes(value.cells[[*value.best]], inside, (value.cells["state"] == state).to_numpy())
    if len(found) > 2 and boxes and len(boxes) < min(len(found), most):
        return "; ".join(_ranges(value, box) for box in boxes)
    return listing([name(_columns(value, line)) for _, line in found.iterrows()], most)


def _ranges(value: Choice, box: Mapping[str, tuple[Any, Any]]) -> str:
    """`T 2 to 8 with λ 0.5`, `λ 0.5 at any T`, of axes that have several values; what is not in the box is free"""
    named = " with ".join(f"{_axis(axis)} {span(ends)}" for axis, ends in box.items())
    free = [_axis(axis) for axis in value.best if axis not in box and value.cells[axis].nunique() > 1]
    return f"{named}{' at ' * bool(named)}any {' and '.join(free)}" if free else named


def _axis(name: str) -> str:
    return AXES.get(name, name.replace("_", " "))


def _boxes(cells: pd.DataFrame, inside: np.ndarray, wanted: np.ndarray) -> list[dict[str, tuple[Any, Any]]]:
    """Ranges of the axes, {axis: (first, last)}, that together hold all `wanted` cells and none that is not `inside`; axes that
    a range spans from end to end are left out of it. None where an axis has words or the cells lie on no grid."""
    numeric = all(pd.api.types.is_numeric_dtype(cells[axis]) for axis in cells)
    values = {str(axis): np.unique(cells[axis]) for axis in cells} if numeric else {}
    if not numeric or len(cells) < 0.5 * math.prod(map(len, values.values())):
        return []
    at = np.column_stack([np.searchsorted(each, cells[axis]) for axis, each in values.items()])
    spans = [list(combinations_with_replacement(range(len(each)), 2)) for each in values.values()]
    held = []  # which cells each box has, of those boxes that have no cell outside
    for box in product(*spans):
        low, high = np.transpose(box)
        has = ((at >= low) & (at <= high)).all(axis=1)
        if (has & wanted).any() and inside[has].all():
            held.append((box, has))
    found, left = [], inside.copy()
    while (left & wanted).any():  # the box with the most that is new; of several alike the one that repeats least
        box, has = max(held, key=lambda each: ((each[1] & left).sum(), -each[1].sum()))
        left &= ~has
        found.append(
            {
                axis: (v[a], v[b])
                for (axis, v), (a, b) in zip(values.items(), box, strict=True)
                if (a, b) != (0, len(v) - 1)
            }
        )
    return found


def edge(value: Choice, words: Mapping[str, str], table: pd.DataFrame | None = None) -> str:
    """Which of the chosen values lie at an end of what was tried, or nothing; words: {axis: what it is called}, of axes with
    three values or more. table: where to look for what was tried, the candidates unless given."""
    tried = value.cells if table is None else table
    ends = [
        said
        for axis, said in words.items()
        if tried[axis].nunique() > 2 and value.best[axis] in (tried[axis].min(), tried[axis].max())
    ]
    return f"{capital(' and '.join(ends))} at the edge of what was tried: better ones may lie outside." if ends else ""


def published(name: str, ours: Values, value: float, source: str, digits: int = 1) -> str:
    """`54.1 % (...); published for Adam 55.16 % (arXiv ...), a difference of -1.1 points`; value: in per cent"""
    i = _interval(ours)
    return f"{percent(i, digits)}; published for {name} {value:.2f} % ({source}), a difference of {100 * i.mean - value:+.1f} points"


def comparisons(
    table: pd.DataFrame, name: Callable[[pd.Series], str], against: str, more: str = "more errors", less: str = "fewer errors",
    hurts: str = "more", digits: int = 2, most: int = 6,
) -> str:  # fmt: skip
    """Of many differences judged together, how many are told from none, and where it hurts.

    table: as `statistics.compare` makes it; name: a line of it in words; hurts: whether "more" or "less" is what hurts.
    """
    up, down = ((table["told"] == way).sum() for way in ("more", "less"))
    bad = _listed(table[table["told"] == hurts], name, digits, most)
    return (
        f"Of {len(table)} comparisons with {against}, {down} have {less}, {up} {more}, the others are not told from no difference (Holm). "
        f"It hurts: {bad or 'nowhere that the seeds can tell'}."
    )


def uncorrected(
    table: pd.DataFrame, name: Callable[[pd.Series], str], hurts: str = "more", digits: int = 2, most: int = 6
) -> str:
    """Where each comparison looked at alone, without correction, would also hurt, or nothing; as `comparisons`."""
    bad = table["low"] > 0 if hurts == "more" else table["high"] < 0
    alone = _listed(table[(table["told"] == "open") & bad], name, digits, most)
    return f"Looked at alone, without correction, it would hurt: {alone}." if alone else ""


def _listed(lines: pd.DataFrame, name: Callable[[pd.Series], str], digits: int, most: int) -> str:
    return listing([f"{name(line)} ({points(line['difference'], digits)})" for _, line in lines.iterrows()], most)


def changes(
    table: pd.DataFrame, axes: Mapping[str, Any], keys: Sequence[str], metric: str, name: Callable[[dict[str, Any]], str]
) -> list[dict[str, str]]:  # fmt: skip
    """What each further value of an axis changes against the first, a line to show for each combination that has both; see
    `settings.each_further`. Of the same students (column `student`) there is no difference. name: a cell in words."""

    def who(cell: Mapping[str, Any]) -> set:
        return set(select(table, cell)["student"]) if "student" in table else set()

    found = [
        (axis, value, rest, paired(*both), who({**rest, axis: value}) & who({**rest, axis: axes[axis]}))
        for axis, value, rest, both in each_further(table, axes, keys, metric)
    ]
    return [
        {"value": name({axis: value}), "all else": name(rest), "change": "none: the same students" if same else f"{points(d)}: {moves(d)}"}
        for axis, value, rest, d, same in found if d.n
    ]  # fmt: skip


def _ends(values: Values, form: Callable[[float], str], least: float = -math.inf, most: float = math.inf) -> str:
    """`81.2 to 82.1`, an interval within what the quantity can be; of two values by seed, whose interval says little, both."""
    two = sorted(values.dropna()) if isinstance(values, pd.Series) else getattr(values, "two", ())
    if len(two) == 2:
        return " and ".join(map(form, two))
    i = _interval(values)
    return f"{form(max(i.low, least))} to {form(min(i.high, most))}"


def _interval(values: Values) -> Interval:
    return values if isinstance(values, Interval) else interval(values)


def _columns(value: Choice, line: pd.Series) -> dict[str, Any]:
    """A candidate as {column: value}."""
    return {name: line[name] for name in value.best}
