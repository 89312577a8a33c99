"""What a value may be: the fields of a trainable's Config carry their limits, and the axes of a study name the same.

    temperature: Annotated[float, above(0)]                 in a Config, whose `__post_init__` calls `checked(self)`
    "temperature": grid(1.0, 2.0, 4.0, limit=above(0))      in a study

Limits of the same content are equal. Nothing here needs torch.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints


class Limit(ABC):
    """A check of one value, and words that say what it asks for, as in "must be above 0".

    choices: all values, where they are a list.
    """

    words: str
    choices: tuple

    @abstractmethod
    def allows(self, value: Any) -> bool:
        """Whether a value of the field's type is within the limit."""


@dataclass(frozen=True)
class _Interval(Limit):
    """Numbers from `low` to `high`; ends: whether they belong to it, as in "[)". Neither NaN nor infinity does."""

    low: float
    high: float
    ends: str
    words: str
    choices: tuple = ()

    def allows(self, value: float) -> bool:
        over = value >= self.low if self.ends[0] == "[" else value > self.low
        under = value <= self.high if self.ends[1] == "]" else value < self.high
        return over and under


@dataclass(frozen=True)
class _OneOf(Limit):
    choices: tuple
    words: str

    def allows(self, value: Any) -> bool:
        return value in self.choices


@dataclass(frozen=True)
class _CountOrAll(Limit):
    least: int
    words: str
    choices: tuple = ()

    def allows(self, value: str) -> bool:
        return value == "all" or (value.isdecimal() and int(value) >= self.least)


@dataclass(frozen=True)
class _Stated(Limit):
    """A rule of its own."""

    words: str
    rule: Callable[[Any], bool]
    choices: tuple = ()

    def allows(self, value: Any) -> bool:
        return self.rule(value)


def above(low: float) -> Limit:
    return _Interval(low, math.inf, "()", f"above {low:g}")


def at_least(low: float) -> Limit:
    return _Interval(low, math.inf, "[)", f"at least {low:g}")


def between(low: float, high: float, ends: str = "[]") -> Limit:
    """ends: "[" or "]" where an end belongs to the interval, "(" or ")" where it does not."""
    return _Interval(low, high, ends, f"in {ends[0]}{low:g}, {high:g}{ends[1]}")


def one_of(*choices: Any) -> Limit:
    return _OneOf(choices, "one of " + ", ".join(map(str, choices)))


def count_or_all(least: int = 1) -> Limit:
    """Of how many there are: a word, "all" or a count."""
    return _CountOrAll(least, f"a count above {least - 1}, or all")


power_of_two = _Stated(
    "0.5, 1, 2, 4 or another power of two", lambda v: 0.5 <= v < math.inf and math.log2(v).is_integer()
)
some_digits = _Stated(
    "none, or fewer than ten different digits",
    lambda v: v == "none" or (v.isdecimal() and len(set(v)) == len(v) < 10),
)


@functools.cache
def limits(config: type) -> dict[str, Limit]:
    """The limit of each field of a Config that has one."""
    hints = get_type_hints(config, include_extras=True)
    found = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: limit for name, extras in found.items() for limit in extras if isinstance(limit, Limit)}


def checked(config: Any, unused: tuple[str, ...] = ()) -> None:
    """ValueError with the name of the first field that is not within its limit, the limit and the value.

    unused: fields that play no part in this config, which may have any value.
    """
    for name, limit in limits(config.__class__).items():
        value = getattr(config, name)
        if name not in unused and not limit.allows(value):
            raise ValueError(f"{name} must be {limit.words}, not {value!r}")
