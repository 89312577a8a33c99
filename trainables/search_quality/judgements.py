"""Judgements of results pages in a CSV file: read, checked line by line, and what a grade is worth.

    query,engine,rank,url,grade,assessor
    weather minsk,google,1,https://example.org/a,4,ann

A line is one grade that one assessor gave one result: engine google or yandex, rank 1 and on, grade 0 (useless) to 4 (what was looked
for). Lines that begin with # are comments.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from trainables.core.cache import cache_root
from trainables.search_quality.worlds import HIGHEST, exponential

COLUMNS = ("query", "engine", "rank", "url", "grade", "assessor")
ENGINES = ("google", "yandex")
EXAMPLE = "example"
MOST_BYTES, MOST_RANKS = 20_000_000, 50
MOST_CELLS = 20_000_000  # of the table queries x 2 x ranks x assessors
STAMP = re.compile(r"@([0-9a-f]{12})$")
GRADINGS: Mapping[str, tuple[float, ...]] = {
    "yandex": (0.0, 0.07, 0.14, 0.41, 0.61),  # irrelevant, relevant -, relevant +, useful, vital
    "exponential": tuple(exponential(np.arange(HIGHEST + 1)).tolist()),  # ERR's (2^g - 1) / 2^4
    "linear": (0.0, 0.2, 0.4, 0.6, 0.8),
    "binary": (0.0, 0.0, 0.4, 0.4, 0.4),  # ROMIP: a relevant page has pRel .4
}
"""pRel, the chance that a result is what was looked for, of the grades 0 to 4."""


class JudgementsError(ValueError):
    """A file that cannot be used, said in one line."""


@dataclass(frozen=True)
class Judgements:
    """grades: (queries, 2, ranks, assessors), google first, NaN where there is none; ranks are those that both engines have in
    the query at hand. urls: (queries, 2, ranks), "" where there is none."""

    queries: tuple[str, ...]
    assessors: tuple[str, ...]
    grades: np.ndarray
    urls: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        return {"queries": np.array(self.queries), "assessors": np.array(self.assessors), "grades": self.grades}

    def lines(self) -> list[dict]:
        """A line for each result that is compared: query, engine, rank, url, mean grade, mean pRel (Yandex's), how many judged it."""
        found = []
        for q, e, r in zip(*np.nonzero(self.urls != ""), strict=True):
            given = self.grades[q, e, r]
            given = given[np.isfinite(given)]
            if not len(given):
                continue
            found.append({
                "query": self.queries[q], "engine": ENGINES[e], "rank": int(r) + 1, "url": str(self.urls[q, e, r]),
                "grade": float(given.mean()), "pRel": float(prel(given, "yandex").mean()), "assessors": len(given),
            })  # fmt: skip
        return found


def stamped(path: str) -> str:
    """What a file is called in a run: `example`, or the file's name and a digest of its content, `mine.csv@0123456789ab`. The
    content is kept in the cache under the digest, so a run goes on with what it began with. JudgementsError as `read`."""
    if path == EXAMPLE or STAMP.search(path):
        read(path)
        return path
    content = _content(path)
    _parsed(path, content)
    digest = hashlib.sha256(content).hexdigest()[:12]
    kept = _kept(digest)
    try:
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            half = kept.with_suffix(f".{os.getpid()}")
            half.write_bytes(content)
            half.replace(kept)
    except OSError as error:
        raise JudgementsError(f"--judgements {path}: {kept} cannot be written ({error.strerror})") from None
    return f"{Path(path).name}@{digest}"


def read(name: str) -> Judgements:
    """The judgements of `example`, of a path, or of what `stamped` gave. JudgementsError names the first wrong line."""
    stamp = STAMP.search(name)
    if not stamp:
        return _parsed(name, _content(name))
    content = _content(str(_kept(stamp[1])), name)
    if not hashlib.sha256(content).hexdigest().startswith(stamp[1]):
        raise JudgementsError(f"--judgements {name}: {_kept(stamp[1])} is damaged; delete it, and give the file again")
    return _parsed(name, content)


def _kept(digest: str) -> Path:
    return cache_root() / "judgements" / f"{digest}.csv"


def blank_form(ranks: int = 10) -> str:
    """An empty form for one query of the user's own: the lines of both engines, to be filled in and, for a second assessor, copied."""
    head = [
        "# One line: one grade that one assessor gave one result. Fill in query, url, grade and assessor; copy the lines for",
        "# each further assessor and query, and delete those that you do not fill in. Five results an engine are enough to begin with.",
        "# grade: 0 useless, 1 a little, 2 relevant, 3 useful, 4 just what was looked for.",
        ",".join(COLUMNS),
    ]
    return "\n".join([*head, *(f",{engine},{rank},,," for engine in ENGINES for rank in range(1, ranks + 1))]) + "\n"


def write_form(path: Path) -> str:
    """Writes the form; what to do with it, in words. JudgementsError where there is a file already, or none can be."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(blank_form())
    except FileExistsError:
        raise JudgementsError(f"--form {path}: there is a file already") from None
    except OSError as error:
        raise JudgementsError(f"--form {path}: cannot be written ({error.strerror})") from None
    return f"an empty form is in {path}; fill it in, then: python studies/search_quality.py --preset judgements --judgements {shlex.quote(str(path))}"


def _content(place: str, called: str = "") -> bytes:
    """What lies in a place, which messages call otherwise where it is none of the user's."""
    name = called or place
    if name == EXAMPLE:
        return resources.files("trainables.search_quality").joinpath("example.csv").read_bytes()
    try:
        path = Path(place).expanduser()
        if path.stat().st_size > MOST_BYTES:
            raise JudgementsError(f"--judgements {name}: larger than {MOST_BYTES // 10**6} MB")
        if not path.is_file():
            raise JudgementsError(f"--judgements {name}: is no file")
        return path.read_bytes()
    except JudgementsError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # a home that nobody has is a RuntimeError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no such path"
        reason = "not in the cache any more: begin a run with the file" if called else reason
        raise JudgementsError(f"--judgements {name}: cannot be read ({reason}); give {EXAMPLE} or a CSV file") from None


@functools.lru_cache(maxsize=4)
def _parsed(name: str, content: bytes) -> Judgements:
    def wrong(what: str, row: int | None = None) -> JudgementsError:
        return JudgementsError(f"--judgements {name}: {f'line {row}: ' if row else ''}{what}")

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise wrong("is not UTF-8 text; save it as CSV, UTF-8") from None
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines:
        raise wrong(f"is empty; the first line names the columns: {','.join(COLUMNS)}")
    head = [column.strip().lower() for column in _fields(lines[0][1], wrong, lines[0][0])]
    if missing := [column for column in COLUMNS if column not in head]:
        raise wrong(f"no column {', '.join(missing)}; needed: {','.join(COLUMNS)}", lines[0][0])
    if len(lines) == 1:
        raise wrong("has no judgement")
    grades: dict[tuple[str, str, int, str], int] = {}
    urls: dict[tuple[str, str, int], tuple[str, int]] = {}
    for row, line in lines[1:]:
        fields = _fields(line, wrong, row)
        if len(fields) != len(head):
            raise wrong(f"{len(fields)} fields, not the {len(head)} of the first line", row)
        given = {column: field.strip() for column, field in zip(head, fields, strict=True)}
        if blank := [column for column in COLUMNS if not given[column]]:
            raise wrong(f"{blank[0]} is blank", row)
        engine = given["engine"].lower()
        if engine not in ENGINES:
            raise wrong(f"unknown engine {given['engine'][:40]!r}; allowed: {' and '.join(ENGINES)}", row)
        rank = _whole(given["rank"], 1, MOST_RANKS)
        if rank is None:
            raise wrong(f"rank {given['rank'][:40]!r}; allowed: a whole number from 1 to {MOST_RANKS}", row)
        grade = _whole(given["grade"], 0, HIGHEST)
        if grade is None:
            raise wrong(f"grade {given['grade'][:40]!r} is off the scale; allowed: 0 to {HIGHEST}", row)
        place = given["query"], engine, rank
        if (*place, given["assessor"]) in grades:
            raise wrong(
                f"a second grade of {given['assessor'][:40]!r} for {engine} rank {rank} of {place[0][:60]!r}", row
            )
        url, first = urls.setdefault(place, (given["url"], row))
        if url != given["url"]:
            raise wrong(
                f"{engine} rank {rank} of {place[0][:60]!r} has another url than in line {first}: duplicate rank", row
            )
        grades[*place, given["assessor"]] = grade
    return _arranged(grades, urls, wrong)


def _arranged(grades: Mapping, urls: Mapping, wrong: Callable[..., JudgementsError]) -> Judgements:
    queries, assessors = (tuple(dict.fromkeys(key[i] for key in grades)) for i in (0, 3))
    deepest = max(rank for _, _, rank in urls)
    cells = len(queries) * 2 * deepest * len(assessors)
    if cells > MOST_CELLS:
        raise wrong(
            f"{len(queries):,} queries and {len(assessors):,} assessors are a table of {cells:,} grades, more than {MOST_CELLS:,}"
        )
    row_of, column_of = ({name: i for i, name in enumerate(names)} for names in (queries, assessors))
    table = np.full((len(queries), 2, deepest, len(assessors)), np.nan)
    shown = np.full((len(queries), 2, deepest), "", dtype=object)
    for (query, engine, rank, assessor), grade in grades.items():
        table[row_of[query], ENGINES.index(engine), rank - 1, column_of[assessor]] = grade
    for (query, engine, rank), (url, _) in urls.items():
        shown[row_of[query], ENGINES.index(engine), rank - 1] = url
    for q, query in enumerate(queries):
        for e, engine in enumerate(ENGINES):
            there = shown[q, e] != ""
            if not there.any():
                raise wrong(f"query {query[:60]!r} has results of one engine only: none of {engine}; both are needed")
            if not there[: there.sum()].all():
                raise wrong(f"query {query[:60]!r}: {engine} has no rank {int(np.argmin(there)) + 1}, but later ones")
        table[q, :, int((shown[q] != "").all(0).sum()) :] = np.nan  # ranks that only one engine has are not compared
    return Judgements(queries, assessors, table, shown)


def _fields(line: str, wrong: Callable[..., JudgementsError], row: int) -> list[str]:
    try:
        return next(csv.reader([line], strict=True))
    except (csv.Error, StopIteration) as error:
        raise wrong(f"is no line of a CSV file ({error})", row) from None


def _whole(word: str, low: int, high: int) -> int | None:
    return int(word) if word.isascii() and word.isdigit() and len(word) < 9 and low <= int(word) <= high else None


def prel(grades: np.ndarray, grading: str) -> np.ndarray:
    """pRel of grades 0 to 4, NaN where there is none."""
    worth = np.array([*GRADINGS[grading], np.nan])
    return worth[np.where(np.isnan(grades), HIGHEST + 1, np.nan_to_num(grades)).astype(int)]
