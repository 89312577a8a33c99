"""Limits: what they allow, and the words that say so."""

import math
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

import pytest

from trainables.core.limits import (
    above,
    at_least,
    between,
    checked,
    count_or_all,
    limits,
    one_of,
    power_of_two,
    some_digits,
)


@pytest.mark.parametrize(
    ("limit", "words", "within", "beyond"),
    [(above(0), "above 0", [1e-9, 1, 1e300], [0, -1, math.inf, math.nan]),
     (at_least(1), "at least 1", [1, 1.5], [0.999, -math.inf, math.inf, math.nan]),
     (between(0, 1), "in [0, 1]", [0, 0.5, 1], [-1e-9, 1.5, math.nan]),
     (between(0, 1, "[)"), "in [0, 1)", [0, 0.999], [1, -0.1, math.nan]),
     (between(0, 1, "(]"), "in (0, 1]", [1e-9, 1], [0, 1.1]),
     (one_of("a", "b"), "one of a, b", ["a", "b"], ["c", "", "ab"]),
     (one_of(1, 2), "one of 1, 2", [1, 2], [0, 3]),
     (count_or_all(), "a count above 0, or all", ["1", "500", "all"], ["0", "-1", "1.5", "none", ""]),
     (count_or_all(10), "a count above 9, or all", ["10", "all"], ["9", "ten"]),
     (power_of_two, "another power of two", [0.5, 1, 64.0], [0.25, 0, 3, -2, math.inf, math.nan]),
     (some_digits, "fewer than ten different digits", ["none", "3", "01234569"], ["33", "0123456789", "x", ""])],
)  # fmt: skip
def test_a_limit_allows_what_its_words_say(limit, words, within, beyond):
    assert limit.words.endswith(words)
    assert all(limit.allows(value) for value in within) and not any(limit.allows(value) for value in beyond)


def test_limits_of_the_same_content_are_equal():
    assert above(0) == above(0.0) and above(0) != at_least(0) and between(0, 1) != between(0, 1, "[)")
    assert one_of("a", "b") == one_of(*"ab") and one_of("a", "b") != one_of("b", "a")
    assert one_of("a", "b").choices == ("a", "b") and above(0).choices == ()


@dataclass(frozen=True)
class Base:
    lr: Annotated[float, above(0)]
    seed: int

    def __post_init__(self):
        checked(self)


@dataclass(frozen=True)
class Further(Base):
    kind: Annotated[str, one_of("a", "b")]
    width: Annotated[int, at_least(8)]

    def __post_init__(self):
        checked(self, unused=("width",) if self.kind == "a" else ())


def test_a_config_is_refused_by_the_name_of_its_field():
    Further(0.1, -3, "b", 8), Further(0.1, 0, "a", 0)
    for values, said in (
        ((0.0, 0, "b", 8), "lr must be above 0, not 0.0"),
        ((1.0, 0, "c", 8), "kind must be one of a, b, not 'c'"),
        ((1.0, 0, "b", 0), "width must be at least 8, not 0"),
    ):
        with pytest.raises(ValueError, match="^" + said + "$"):
            Further(*values)
    assert limits(Further) == {"lr": above(0), "kind": one_of("a", "b"), "width": at_least(8)}


def test_limits_and_the_contract_need_no_torch():
    code = "import sys, trainables.core.contract, trainables.core.limits; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
