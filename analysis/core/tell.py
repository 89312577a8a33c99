"""Numbers as the sentences of a page say them. Metrics come in as fractions and go out in per cent or points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.core.statistics import Interval, Verdict


def percent(value: Interval, digits: int = 1) -> str:
    """`81.7 % (95 % interval 81.2 to 82.1, n = 3)`"""
    within = (value.mean, max(value.low, 0.0), min(value.high, 1.0))  # no share lies beyond
    mean, low, high = (f"{100 * v:.{digits}f}" for v in within)
    if math.isnan(value.low):
        return f"{mean} % (n = {value.n})"
    return f"{mean} % (95 % interval {low} to {high}, n = {value.n})"


def points(value: Interval, digits: int = 1) -> str:
    """`+4.1 points (+3.2 to +5.0)`; with a further digit where so many would round to 0"""
    digits += abs(value.mean) < 0.5 * 10.0 ** -(digits + 2)
    mean, low, high = (f"{100 * v:+.{digits}f}" for v in (value.mean, value.low, value.high))
    if math.isnan(value.low):
        return f"{mean} points (n = {value.n}, no interval)"
    return f"{mean} points ({low} to {high})"


def share(value: Interval) -> str:
    """`62 % (58 to 66)`"""
    if math.isnan(value.low):
        return f"{100 * value.mean:.0f} % (n = {value.n})"
    return f"{100 * value.mean:.0f} % ({100 * value.low:.0f} to {100 * value.high:.0f})"


def cell(values: Mapping[Any, Any]) -> str:
    """`T = 8, kd_weight = 0.25`; at kd_weight 0 the temperature plays no part and is not named."""
    if values["kd_weight"] == 0:
        return "labels only (kd_weight = 0)"
    return f"T = {values['temperature']:.3g}, kd_weight = {values['kd_weight']:.3g}"


def listing(items: Sequence[str], most: int = 5) -> str:
    """`a; b; c and 4 more`"""
    rest = len(items) - most
    return "; ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")


def count(number: int, noun: str) -> str:
    """`1 rival`, `3 rivals`"""
    return f"{number} {noun}{'s' * (number != 1)}"


def moves(value: Interval) -> str:
    """What an interval of a difference says about its direction."""
    if math.isnan(value.low):
        return "one seed, so nothing is known of the noise"
    if value.n == 2 and value.high - value.low < 1e-12 and value.mean:
        return "the same in both seeds, so nothing is known of the noise"
    if value.low <= 0 <= value.high:
        return "not distinguishable from no difference"
    return "a gain" if value.low > 0 else "a loss"


def verdict(value: Verdict, name: Callable[[Mapping[str, Any]], str] = cell, most: int = 5) -> str:
    """What a choice is worth: it stands out, it is a tie (the first `most` rivals are named), or nobody can know."""
    if value.lead is None or value.runner_up is None:
        return "It has no rival."
    rivals = count(value.rivals, "rival")
    side = "leads" if value.lead.mean >= 0 else "is behind"
    lead = f"on test it {side} the runner-up ({name(value.runner_up)}), {points(value.lead)} before correction"
    if value.n < 2:
        return f"One seed says nothing about noise, so this is no verdict: {lead}."
    if value.stands_out:
        return f"It stands out from its {rivals} (paired t, Holm-corrected): {lead}."
    ties = listing([name(tied) for tied in value.ties], most)
    return (
        f"It is a tie: with {value.n} seeds, {len(value.ties)} of {rivals} cannot be told from it (paired t, "
        f"Holm-corrected; uncorrected {value.uncorrected_ties}): {ties}; {lead}."
    )
