"""A run that is drawn: what a page reads, shows and says, and the report that comes of it.

A page's first code cell calls `open`. In the notebook it opens the run. In the script (`python analysis/X.py [RUN]`) it
executes the file as a notebook, writes report.ipynb and report.html into the run folder, prints the answer
and the figures, and ends the process.

A run folder may come from a stranger. What its rows and run.json say is text wherever it is shown, beside them nothing in it is read
or imported, and what is written there follows no link. Nor do the settings of the user reach a page: those of matplotlib, IPython,
Jupyter and Python's own.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import hashlib
import html
import io
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.core import interpreter, plain_matplotlib, records, searches, tell
from analysis.core.settings import Setting, evaluations, once, split, varied

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure
    from nbformat import NotebookNode

Words = Mapping[str, Mapping[Any, str] | str | Callable[[Any], str]]
DPI = 130
SEARCHED = 4  # settings whose search is drawn
COURSES = 200  # students whose training is drawn
MARK = "stillroom"  # key of what a page says about itself in the metadata of its outputs and cells
NOT_ASKED = "not asked"  # mark of a code cell about what the run was not asked, which shows nothing
RUN = "STILLROOM_RUN"  # environment variable by which the script tells the kernel which run to open


@dataclass(frozen=True)
class Run:
    """A run that is being drawn.

    rows: every evaluation in every cell, as `records.read` has them. cells: every planned grid point, its `student`, `status`
    ("done", "failed", "stopped", or "missing": not done yet), and the last evaluation of that student, NaN where it has no
    result. students: the last evaluation of each student that is done, each once, under its canonical config. history: every
    evaluation of each student that did not fail, each once, under its canonical config. Beside each `X_accuracy` all have an
    `X_error`. words: how the values of axes are called in figures and sentences, {axis: {value: words}, or a format such
    as "{} labels", or a function of the value}; without an entry an axis is called "axis value", and what is
    no axis by its value alone. sink: where figures go, with their names; unless given into the run folder and the report.
    """

    path: Path
    info: Mapping[str, Any]
    rows: pd.DataFrame = field(repr=False)
    cells: pd.DataFrame = field(repr=False)
    students: pd.DataFrame = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    words: Words = field(default_factory=dict)
    sink: Callable[[Figure, str], None] | None = None

    @property
    def axes(self) -> dict[str, list]:
        """The axes with their planned values, in the order of the plan."""
        planned = self.info.get("axes", {})
        return {a: list(planned.get(a) or dict.fromkeys(self.rows[a])) for a in self.rows.attrs["axes"]}

    @property
    def margin(self) -> float | None:
        """The difference in the study's metric that does not matter, for `choose`; None where the run does not say."""
        return self.info.get("margin")

    def settings(
        self, but: Sequence[str], first: Sequence[str] = (), cells: pd.DataFrame | None = None, canonical: bool = False
    ) -> list[Setting]:
        """The run split by the axes that vary, other than those that are compared (`but`), see `settings.split`.

        cells: those to be split, all unless given. canonical: split the students by their canonical configs instead, so that each
        stands in one setting only.
        """
        lines = cells if cells is not None else self.students if canonical else self.cells
        return split(lines, self.history if canonical else self.rows, but, self.axes, first, self.named)

    @property
    def asked(self) -> pd.DataFrame:
        """Every planned student once, under its canonical config, with the columns of `cells`: NaN where it has no result."""
        known = self.cells.sort_values("status", key=lambda status: status != "done", kind="stable")
        known = known.dropna(subset=["student"]).drop_duplicates("student").drop(columns=list(self.axes))
        planned = records.students(self.path, self.rows)[["student", *self.axes]]
        return planned.merge(known, how="left", on="student").fillna({"status": "missing"})

    def varied(self, but: Sequence[str] = ()) -> list[str]:
        """The axes that have several values in the plan, save the seed and those in `but`."""
        return [a for a in varied(self.cells, list(self.axes)) if a not in but]

    def named(self, cell: Mapping[str, Any], sep: str = ", ") -> str:
        """Values of axes in words: `teacher sees the clean digit, 500 labels`; a value whose word is empty is left out."""
        return sep.join(filter(None, (self.word(axis, value) for axis, value in cell.items())))

    def word(self, axis: str, value: Any) -> str:
        """One value in words."""
        known = self.words.get(axis)
        if isinstance(known, str):
            return known.format(value)
        if callable(known):
            return known(value)
        if known is not None and value in known:
            return known[value]
        if axis not in self.axes:  # a column that the page made: its values are words
            return str(value)
        return (
            f"{axis.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{axis.replace('_', ' ')} {value}"
        )

    def table(self, name: str) -> pd.DataFrame:
        """A further table of the run; empty if the run has none. RecordsError if it is damaged."""
        if not any((self.path / name).glob("*.parquet")):
            return pd.DataFrame()
        return records.read(self.path, name)

    def show_classes(self) -> bool:
        """Whether the images are of the user's own; then their classes are shown, and how many images each has."""
        classes = self.table("classes")
        if len(classes):
            self.show(classes[["label", "class", "train", "val", "test"]], "The classes, and how many images each has")
        return len(classes) > 0

    @property
    def subtitle(self) -> str:
        """Data variant, number of seeds, preset and run: what every title must say."""
        points = self.students.groupby([axis for axis in self.axes if axis != "seed"], dropna=False)
        least, most = (int(end) for end in points["seed"].nunique().agg(["min", "max"]))
        data = self.info.get("data_description") or f"data: {self.info.get('data')}"
        seeds = f"{least} to {most} seeds" if least < most else tell.count(most, "seed")
        run = f"n = {seeds}, preset {self.info.get('preset')}, run {self.path.name}"
        status = self.info.get("status")
        unfinished = "" if status in ("done", None) else f" ({status})"
        return "\n".join([*_folded(str(data)), run + unfinished])

    def about(self, data: str, students: pd.DataFrame | None = None) -> Run:
        """The same run for figures that show only a part of it: their titles name these data in place of the run's, and count the
        seeds of these students (all unless given)."""
        part = self.students if students is None or students.empty else students
        return replace(self, info={**self.info, "data_description": data}, students=part)

    def title(self, heading: str, note: str = "") -> str:
        """The title of a figure: what it shows, of which data and run, and how to read it, on lines that the narrowest figure holds."""
        above, below = ([line for part in text.split("\n") for line in _folded(part, 105)] for text in (heading, note))
        return "\n".join([*above, self.subtitle, *below])

    def finish(self, figure: Figure, name: str, heading: str, note: str = "") -> None:
        """Gives a figure its title, saves and shows it."""
        figure.suptitle(self.title(heading, note), fontsize=11)
        self.figure(figure, name)

    def figure(self, figure: Figure, name: str) -> None:
        """Saves figures/<name>.png and shows it, or hands it to the sink."""
        if self.sink:
            return self.sink(figure, name)
        content = png(figure)
        path = self._put(name, "png", content)
        alt = figure.get_suptitle() or name
        _show({"image/png": content, "text/plain": path.name}, {"image/png": {"alt": alt}}, figure=path.name)

    def interactive(self, figure: go.Figure, name: str, caption: str) -> None:
        """Saves figures/<name>.html, plotly.js inside, and lays the figure into the report, where opening it turns it."""
        said = {"caption": html.escape(caption), "figure": _in_html(figure.to_json())}
        alone = TURN.format(**said, state=" open", height="90vh") + _scripts(turning())
        head = f'<meta charset="utf-8">{policy(turning())}<title>{said["caption"]}</title>'
        document = f"<!DOCTYPE html><html><head>{head}</head><body>{alone}</body></html>"
        path = self._put(name, "html", document.encode())
        box = TURN.format(**said, state="", height="640px")
        _show({"text/html": box, "text/plain": path.name}, figure=path.name, turns=path.name)

    def attach(self, name: str, kind: str, content: bytes) -> None:
        """Saves figures/<name>.<kind>, which is no figure but is opened by a program of its own; it is not looked into."""
        path = self._put(name, kind, content)
        _show({"text/plain": path.name}, figure=path.name)

    def show(self, lines: pd.DataFrame | Iterable[Mapping[str, Any]], heading: str = "") -> None:
        """A table to read, its texts escaped, blank where a line lacks a column; nothing where there are no lines."""
        table = lines if isinstance(lines, pd.DataFrame) else pd.DataFrame([*lines])
        if table.empty:
            return
        text = f"<h4>{html.escape(heading)}</h4>" * bool(heading) + table.to_html(
            index=False, escape=True, border=0, na_rep=""
        )
        _show({"text/html": text, "text/plain": table.to_string(index=False, na_rep="")})

    def warnings(self) -> Iterator[str]:
        """What stands before the answer: that what is said may be wrong, is of a part of the run, or says nothing."""
        if records.altered(self.info):
            yield "**run.json is damaged or was changed: its content has not the digest that it names. What it says of the run may be wrong.**"
        if self.unfinished:
            yield self._how_far()
        if self.info.get("preset") == "smoke":
            yield "**Preset smoke only shows that everything works: its numbers say nothing.**"

    @property
    def unfinished(self) -> str:
        """How much there is of a run that has not ended, `30 of 36 students have results`; nothing of one that is done."""
        if self.info.get("status") in ("done", None):
            return ""
        return f"{self._of('done')} of {self._planned} students have results"

    def _how_far(self) -> str:
        """How much there is of a run that has not ended, how it goes on, and which values of a grid's axes have nothing yet."""
        done = self.cells[self.cells["status"] == "done"]
        planned = self.varied() if self.info.get("search", "grid") == "grid" else []
        empty = [
            word if (word := self.word(axis, value)).startswith(name := axis.replace("_", " ")) else f"{name} {word}"
            for axis in planned
            for value in dict.fromkeys(self.cells[axis].dropna())
            if not (done[axis] == value).any()
        ]
        failed = self._of("failed")
        ended = failed and not self.cells["status"].isin(["missing", "running"]).any()
        how = f"has ended, but {tell.count(failed, 'student')} failed" if ended else f"has not ended (its status: {self.info['status']})"
        return (
            f"**This run {how}: {self.unfinished}, "
            f"and all below is of these alone.** `--resume {self.info.get('run', 'latest')}` {'tries the others again' if ended else 'goes on'}."
            + f" Nothing yet of: {tell.listing(empty, 8)}." * bool(empty)
        )

    def _of(self, status: str) -> int:
        """How many students are done, or failed."""
        return self.rows.loc[self.rows["status"] == status, "student"].nunique()

    @property
    def _planned(self) -> int:
        """How many students the run has, those to come included."""
        return self.info.get("students", self.rows["student"].nunique())

    def caveats(self) -> Iterator[str]:
        """What every page says at its end: a small data set, students without a result, a race, and files that are not checked."""
        rows, done = self.rows, set(self.rows.loc[self.rows["status"] == "done", "student"])
        if self.info.get("data") == "sample" and self.info.get("datasets"):
            yield "The data are the small shipped sample: compare with published numbers in kind, not in size."
        if said := self.info.get("data_caveat"):
            yield said
        failed = rows[(rows["status"] == "failed") & ~rows["student"].isin(done)].drop_duplicates("student")
        if len(failed):
            axes = [axis for axis in self.axes if rows[axis].nunique() > 1]
            lost = [f"{self.named({axis: s[axis] for axis in axes})} ({s['error']})" for s in failed.to_dict("records")]
            yield f"{len(failed)} of {self._planned} students failed and are holes, not low points: {tell.listing(lost)}."
        stopped = rows.loc[rows["status"] == "stopped", "student"].nunique()
        if stopped:
            yield f"{tell.count(stopped, 'student')} stopped early by the scheduler, without a test: holes too."
        if self.info.get("decide"):
            yield "After the grid, seeds were added to the cells that validation left undecided. No test result had a part in that, so on test a cell may still be open."
        if names := records.unchecked(self.path):
            yield f"Without a digest, as in runs of older versions: {tell.listing(names)}. Whether that is what the run wrote is not checked."

    def close(self, answer: Iterable[str], details: Iterable[str] = ()) -> None:
        """The page's last words: the answer in few sentences, which the script prints and which stands first in the report, and what
        else is to be said, at its end. What every page must own up to is added to the answer, before it (`warnings`) and after it
        (`caveats`); how the networks were made and trained to the end."""
        self._searched()
        self._trained()
        short, long = [*self.warnings(), *answer, *self.caveats()], list(details)
        for mark, sentences in (("answer", short), ("details", long)):
            if sentences:
                said = f"{_bullets(sentences)}\n\n{READING}" if mark == "answer" else _bullets(sentences)
                _show({"text/markdown": said, "text/plain": "\n".join(sentences)}, None, **{mark: sentences})
        self._protocol()

    def _searched(self) -> None:
        """After a search, Optuna's figures of each setting, of the first few."""
        metric = str(self.info.get("metric"))
        if self.info.get("search", "grid") == "grid" or metric not in self.students:
            return
        axes = searches.drawn(self.students, self.info.get("axes", {}))
        for setting in self.settings(but=axes)[:SEARCHED] if axes else ():
            order = setting.cells.drop_duplicates("student")["student"]
            points = setting.students.set_index("student").reindex(order).reset_index()
            for name, figure in searches.figures(points, axes, metric, str(self.info.get("mode"))).items():
                caption = f"The search, {name}" + f": {setting.title}" * bool(setting.title)
                self.interactive(figure, f"search_{name} {setting.title}".strip(), caption)

    def _trained(self) -> None:
        """training.png: the course of the loss and of what is chosen on, of students that were measured more than once; that of the
        best in colour."""
        from matplotlib import pyplot

        from analysis.core.figures.scales import label, logarithmic

        chosen_on = str(self.info.get("metric"))
        if not {"train_loss", chosen_on} <= {*self.history}:
            return
        often = self.history.groupby("student").filter(lambda part: part["step"].nunique() > 1)
        if often.empty:
            return
        students = sorted(often["student"].unique())  # hashes, so that the first are of all settings
        pale = set(students[:COURSES])
        reached = self.students.drop_duplicates("student").set_index("student")[chosen_on]
        reached = reached[reached.index.isin(often["student"])].dropna()
        best = {reached.idxmax() if self.info.get("mode") == "max" else reached.idxmin()} if len(reached) else set()
        figure, axes = pyplot.subplots(1, 2, figsize=(11, 3.9), layout="constrained")
        for column, ax in zip(("train_loss", chosen_on), axes, strict=True):
            share = records.unit(column)
            for those, style in ((pale - best, {"color": "0.55", "alpha": 0.35, "linewidth": 0.9}), (best, {"color": "tab:orange", "linewidth": 2.2})):
                for _, part in often[often["student"].isin(those)].sort_values("step").groupby("student"):
                    ax.plot(part["step"], share * part[column], **style)
            ax.set(xlabel="step", ylabel=label(column))
            ax.grid(linewidth=0.3)
        if (often["train_loss"].dropna() > 0).all():
            logarithmic(axes[0], "y")
        many = f"{len(pale)} of {len(students)} students" if len(students) > COURSES else "a line for each student"
        many += f"; orange: the single best, by {label(chosen_on).removesuffix(', %')}" * len(best)
        self.finish(figure, "training", "The course of the training", many)

    def _protocol(self) -> None:
        """How the networks were made and trained, from run.json: what the study says of itself, what was varied, what was fixed."""
        words, networks, helps = (self.info.get(name, {}) for name in ("method", "networks", "axes_help"))
        method = pd.DataFrame([{"what": name.replace("_", " "), "how": str(text)} for name, text in words.items()])
        axes = pd.DataFrame(
            [
                {"axis": axis, "values": " ".join(map(str, values)), "meaning": helps.get(axis, "")}
                for axis, values in self.axes.items()
            ]
        )
        layers = "".join(
            f"<div><h4>{html.escape(name)}</h4><pre style='font-family: monospace'>{html.escape(text)}</pre></div>"
            for name, text in networks.items()
        )
        side_by_side = (
            f"<div style='display: flex; flex-wrap: wrap; gap: 0 3em; margin-bottom: 2em'>{layers}</div>" * bool(layers)
        )
        if command := str(self.info.get("command", "")):
            method = pd.concat([pd.DataFrame([{"what": "command", "how": f"python {command}"}]), method])
        plain = [f"{name}: {text}" for name, text in words.items()]
        plain += [f"{name}\n{text}" for name, text in networks.items()]
        _show(
            {
                "text/html": "".join([_to_the_left(method), side_by_side, _to_the_left(axes)]),
                "text/plain": "\n\n".join([*plain, axes.to_string(index=False)]),
            },
            protocol=1,
        )

    def _put(self, name: str, kind: str, content: bytes) -> Path:
        """Writes a figure; the file, whose name is made of `name`."""
        path = figures_of(self.path) / f"{records.file_name(name)}.{kind}"
        put(path, content)
        return path


def png(figure: Figure) -> bytes:
    """A figure as it is saved; it is closed."""
    from matplotlib import pyplot

    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, facecolor="white")
    pyplot.close(figure)
    return content.getvalue()


def figures_of(run: Path) -> Path:
    """The folder of a run's figures, made if there is none. RecordsError if it lies elsewhere."""
    folder = run / "figures"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise records.RecordsError(
            f"{folder} is a link or a file, no folder of this run: remove it to draw figures there"
        )
    folder.mkdir(exist_ok=True)
    return folder


def put(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all. What had its name is replaced; a link is, not what it names."""
    new = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}")
    try:
        with new.open("xb") as stream:
            stream.write(content)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


READING = (
    "*How to read it.* All is computed from the rows of the run. Validation chooses, test reports. A number is a mean over n seeds "
    "with Student's 95 % interval, unless another is named; of two seeds both values stand where an interval would, and one seed has "
    "none. A difference is paired by seed. A rival of what was chosen is as "
    "good (within the margin named), worse, or open (more seeds may tell), by intervals that hold for all rivals together."
)
"""What holds on every page, said once in each report."""

TURN = (
    '<details class="turn"{state}><summary>{caption} (to turn)</summary><div style="height:{height}"></div>'
    '<script type="application/json">{figure}</script></details>'
)
"""A figure that plotly draws once its summary is opened: a browser holds few such figures at a time."""

TURNING = """
for (const box of document.querySelectorAll("details.turn")) {
  const place = box.querySelector("div"), figure = JSON.parse(box.querySelector("script").textContent);
  const turn = () => box.open
    ? Plotly.newPlot(place, figure.data, figure.layout, {displaylogo: false, responsive: true})
    : Plotly.purge(place);
  box.addEventListener("toggle", turn);
  if (box.open) turn();
}
"""


def turning() -> list[str]:
    """The scripts of a document with figures to turn."""
    from plotly.offline import get_plotlyjs

    return [get_plotlyjs(), TURNING]


def _scripts(scripts: Sequence[str]) -> str:
    return "".join(f"<script>{script}</script>" for script in scripts)


def policy(scripts: Sequence[str]) -> str:
    """A content security policy for the head of a document: these scripts run and no others, nothing is fetched or sent."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    rules = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
    return f"<meta http-equiv=\"Content-Security-Policy\" content=\"{rules}; base-uri 'none'; form-action 'none'\">"


def _to_the_left(table: pd.DataFrame) -> str:
    """A table of words in HTML, which is easier to read than one of numbers where lines begin at one place. Without rows
    nothing."""
    text = table.to_html(index=False, escape=True, border=0) if len(table) else ""
    return re.sub("<(t[dh])>", r"<\1 style='text-align: left; vertical-align: top'>", text)


def _in_html(text: str) -> str:
    """JSON as it may stand inside a script tag."""
    return text.replace("<", "\\u003c")


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {_in_markdown(s)}" for s in sentences)


def _in_markdown(sentence: str) -> str:
    """A sentence as Markdown that means nothing but itself; only **strong** and `code` keep their meaning."""
    text = re.sub(r"[^\w .,;:()%-]|_", lambda c: f"&#{ord(c[0])};", sentence)
    text = re.sub(r"&#42;&#42;(.+?)&#42;&#42;", r"<strong>\1</strong>", text)
    return re.sub(r"&#96;(.+?)&#96;", r"<code>\1</code>", text)


def printable(text: str) -> str:
    """A text in one line that tells a terminal nothing: control characters are marks of what cannot be shown."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", " ".join(text.splitlines()))


def whatever_the_terminal() -> None:
    """A terminal that lacks a letter still gets the sentence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(*lines: str) -> None:
    """Lines for the terminal, of which a reader may want the first alone: `... | head`"""
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _folded(text: str, width: int = 85, after: Sequence[str] = ("; ", ": ")) -> Iterator[str]:
    """The lines of a text: a data set stays on one where it can, else what follows its colon, else they break at any word."""
    if len(text) <= width or not after:
        return (yield from textwrap.wrap(text, width))
    together = text.replace(" ", "\N{NO-BREAK SPACE}").replace(after[0].replace(" ", "\N{NO-BREAK SPACE}"), after[0])
    for line in textwrap.wrap(together, width, break_long_words=False, break_on_hyphens=False):
        yield from _folded(line.replace("\N{NO-BREAK SPACE}", " "), width, after[1:])


def _wrapped(sentence: str) -> str:
    """A sentence as a terminal shows it best, broken at words; as one line to where it can be searched."""
    if not sys.stdout.isatty():
        return sentence
    return textwrap.fill(sentence, min(shutil.get_terminal_size().columns, 110), subsequent_indent="  ")


def _show(data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, **mark: Any) -> None:
    from IPython.display import display

    display({**data}, raw=True, metadata={**(metadata or {}), MARK: mark})


def open(study: str, words: Words | None = None) -> Run:
    """In a notebook: the run whose folder it lies in, else the latest run of `study` under ./results. In a script: see
    above; SystemExit 0, or 2 after one line about a run that cannot be read, or 1 if the page failed. words: see `Run`."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        raise SystemExit(main(study, Path(sys.modules["__main__"].__file__ or "")))
    from matplotlib import rcdefaults, rcParams

    rcdefaults()
    rcParams["text.parse_math"] = False  # a dollar in a run's texts is a dollar
    here = Path(os.environ.get(RUN) or Path.cwd())
    return open_run(here if (here / "run.json").is_file() else records.find_run(study), words)


def open_run(path: Path, words: Words | None = None) -> Run:
    """A run ready to be drawn. RecordsError if it cannot be read or no student is done."""
    return run_of(path, path, records.info(path), records.read(path), words)


def run_of(
    path: Path, source: Path | records.Watched, info: Mapping[str, Any], rows: pd.DataFrame, words: Words | None = None
) -> Run:
    """The same of what was read. path: its folder; source: where its other tables are read."""
    rows = with_errors(rows)
    if not rows.attrs["axes"]:
        rows.attrs["axes"] = [name for name in info.get("axes", {}) if name in rows]
    done = records.final(rows)
    if done.empty:
        failed = rows[rows["status"] == "failed"]
        why = f"; {failed['student'].nunique()} failed: {failed['error'].iloc[0]}" if len(failed) else ""
        raise records.RecordsError(f"{path}: no student is done{why}")
    axes = rows.attrs["axes"]
    history = evaluations(rows)
    canonical = records.students(source, rows)[["student", *axes]]
    history = history.drop(columns=axes).merge(canonical, on="student")
    students = once(done).drop(columns=axes).merge(canonical, on="student")
    return Run(path, info, rows, planned(source, rows), students, history, words or {})


def with_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Beside every `X_accuracy` an `X_error`, 1 less it."""
    names = [str(name) for name in rows if str(name).endswith("_accuracy")]
    wrong = (1 - rows[names]).rename(columns={name: name.replace("_accuracy", "_error") for name in names})
    both = pd.concat([rows, wrong], axis=1)
    both.attrs.update(rows.attrs)
    return both


def planned(source: Path | records.Watched, rows: pd.DataFrame) -> pd.DataFrame:
    """The cells of a run: those that were planned, and those that a search came to, with the last evaluation of each."""
    axes = rows.attrs["axes"]
    cell = list(dict.fromkeys([*axes, "seed"]))
    ended = rows[rows["status"] != "running"].sort_values("step", kind="stable")
    last = ended.sort_values("status", key=records.ranks, kind="stable").drop_duplicates(cell, keep="last")
    metrics = [name for name in last if name not in (*cell, "student", "status")]
    last.loc[last["status"] != "done", [m for m in metrics if last[m].dtype.kind == "f"]] = float("nan")
    cells = records.cells(source, rows)[cell]
    merged = cells.merge(last, how="left", on=cell)
    merged["status"] = merged["status"].fillna("missing")
    return merged


def main(study: str, file: Path, words: Sequence[str] | None = None) -> int:
    """The command line of a page; the exit code."""
    parser = argparse.ArgumentParser(prog=f"python analysis/{file.name}", description=f"Draws a run of {study}.")
    run = "name or folder of the run, or its URI, as s3://bucket/results/STUDY/RUN (default: the latest)"
    parser.add_argument("run", nargs="?", default="latest", help=run)
    parser.add_argument("--root", default="results", help="folder of all results (default: %(default)s)")
    out = "folder that gets a copy of the run and its figures (default: they are put beside the rows)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=out)
    parser.add_argument(
        "--zip", action="store_true", help="also one file to hand in: report, notebook, figures, tables, run.json"
    )
    whatever_the_terminal()
    given = parser.parse_args(words)
    try:
        with at_hand(study, given.run, given.root, given.out) as (path, place):
            opened = open_run(path)  # a run that cannot be read is said here in one line, not by a kernel in forty
            if (its := opened.info.get("study", study)) != study:  # before anything of that run is written over
                raise records.RecordsError(f"{given.run} is a run of {its}: python analysis/{its}.py {given.run}")
            if given.zip and (lacks := opened.unfinished):
                which = f"the run {opened.info.get('run', path.name)} ({opened.info['status']})"
                print(printable(f"NOT DONE  {which}: {lacks}{_to_go_on(opened, given.run, given.root)}"), file=sys.stderr, flush=True)
            figures_of(path)
            notebook, error = render(file, path)
            packed = handin(path, marked(notebook, "figure")).name if given.zip and not error else ""
    except (records.RecordsError, OSError) as problem:
        print(printable(f"{file.stem}: {problem}"), file=sys.stderr)
        return 2
    if error:
        print(printable(f"{file.stem}: the page stopped: {error} (see {place}/report.ipynb)"), file=sys.stderr)
        return 1
    answer = [_wrapped(printable(sentence.replace("**", ""))) for sentence in marked(notebook, "answer")]
    more = "; more is said there" if marked(notebook, "details") else ""
    files = [f"\nFigures in {place}/figures:", *(f"  {name}" for name in marked(notebook, "figure"))]
    files += [f"Report: {place}/report.html (notebook: report.ipynb){more}"]
    if given.zip:
        files += [f"To hand in: {place}/{packed}" + " (NOT DONE, see above)" * bool(lacks)]
    say(*answer, *files)
    return 0


def _to_go_on(run: Run, named: str, root: str) -> str:
    """The command that resumes a run, where it lies as its study left it."""
    study, name = str(run.info.get("study")), run.path.name
    place = named.rstrip("/") if "://" in named else records.find_run(study, named, root).as_posix()
    home, inside, _ = place.rpartition(f"{study}/{name}")
    if not inside:
        return ""
    home = home.rstrip("/") or "."
    storage = "" if home == os.environ.get("STILLROOM_STORAGE", "results") else f" --storage {shlex.quote(home)}"
    return f"; to go on: {interpreter()} studies/{study}.py --resume {shlex.quote(name)}{storage}"


def handin(run: Path, figures: Iterable[str]) -> Path:
    """<study>_<run>.zip beside the run's files: all that a page needs to be drawn again, and what it drew, in one folder; a table
    that is one file, as all are once a run is done, is `rows/rows.parquet`. Checkpoints, weights and what else lies there stay behind."""
    study = str(records.info(run).get("study", "study"))
    name = records.file_name(f"{study}_{run.absolute().name}")
    paths = {file: run / file for file in ("run.json", "report.html", "report.ipynb")}
    paths |= {f"figures/{figure}": run / "figures" / figure for figure in figures}
    fs, folder = records.open_folder(run)
    folders = sorted(entry.name for entry in run.iterdir() if entry.is_dir() and not entry.is_symlink())
    for table in (name for name in folders if name not in records.NO_TABLES):
        files = [Path(file) for file in records.files(fs, folder, table)]
        paths |= {f"{table}/{table if len(files) == 1 else file.stem}.parquet": file for file in files}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, file in paths.items():
            if not file.is_symlink():
                archive.write(file, f"{name}/{inside}")
    put(run / f"{name}.zip", packed.getvalue())
    return run / f"{name}.zip"


@contextlib.contextmanager
def at_hand(study: str, run: str, root: str, out: Path | None) -> Iterator[tuple[Path, str | Path]]:
    """A run's folder on this machine, and where its report will lie: there, or, of a run in an object store without `out`, beside its
    rows, where what is drawn goes at the end. RecordsError and OSError as where it is read and written."""
    source = run if "://" in run else records.find_run(study, run, root)
    name = str(source).rstrip("/").rsplit("/", 1)[-1]
    if out is not None:
        yield records.fetched(source, out.expanduser() / name), out.expanduser() / name
    elif isinstance(source, Path):
        yield source, source
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = records.fetched(source, Path(folder, name))
            yield path, source.rstrip("/")
            fs, place = records.open_folder(source)
            for file in [*path.glob("report.*"), *path.glob("*.zip"), *path.glob("figures/*")]:
                with fs.open_output_stream(f"{place}/{file.relative_to(path)}") as stream:
                    stream.write(file.read_bytes())


def render(file: Path, run: Path) -> tuple[NotebookNode, str]:
    """Executes a page once, by this interpreter, in an empty folder; writes report.ipynb and, if it went well, report.html.

    Returns the executed notebook, and the error's last line or "".
    """
    import jupytext
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbformat.v4 import new_code_cell

    notebook = jupytext.read(file, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["title"] = f"{file.stem}: {run.name}"
    _only_asked(notebook, records.info(run).get("axes", {}))
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(first, new_code_cell(DATA_ONLY))
    error = ""
    with tempfile.TemporaryDirectory() as empty:
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            extra_arguments=[
                "--Application.log_level=40"
            ],  # else each kernel warns of TCP, though it stays on loopback
        )
        kernel = client.create_kernel_manager()
        kernel.kernel_spec_manager = KernelSpecManager(
            kernel_dirs=[]
        )  # this interpreter, whatever is installed as python3
        kernel.connection_file = str(Path(empty, "kernel.json"))
        try:
            client.execute(cwd=empty, env=_environment(run, empty))
        except CellExecutionError as problem:
            error = f"{problem.ename}: {problem.evalue}".splitlines()[0]
        except (RuntimeError, TimeoutError) as problem:  # the kernel died, or a cell took too long
            error = str(problem).splitlines()[0]
    if not error:
        put(run / "report.html", to_html(notebook).encode())
        for section in _empty_sections(notebook):  # the report leaves them out; code after them needs theirs
            notebook.cells[section.start].source += "\n\n*This run has nothing of it.*"
        notebook.cells += again(file, run)
    if not error or any(cell.get("execution_count") for cell in notebook.cells):  # else no kernel began, and the last one stays
        put(run / "report.ipynb", nbformat.writes(notebook).encode())
    return notebook, error


def _only_asked(notebook: NotebookNode, planned: Mapping[str, Sequence]) -> None:
    """Takes out the prose about what a run did not ask: markdown cells with a tag `AXIS=VALUE` of a value that is not among those
    `planned`. Of a cell that begins a part of the page (`# ...`) its heading stays, and says how to ask."""
    kept = []
    for cell in notebook.cells:
        tags = (tag.partition("=") for tag in cell.metadata.get("tags", ()) if "=" in tag)
        lost = [(axis, value) for axis, _, value in tags if axis in planned and value not in map(str, planned[axis])]
        if lost and cell.cell_type == "markdown":
            if not cell.source.startswith("# "):
                continue
            flags = " ".join(f"--{axis.replace('_', '-')} {value}" for axis, value in lost)
            cell.source = f"{cell.source.splitlines()[0]}\n\nNot asked for in this run: `{flags}`."
        elif lost:
            cell.metadata[MARK] = NOT_ASKED
        kept.append(cell)
    notebook.cells = kept


def again(file: Path, run: Path) -> list[NotebookNode]:
    """The last cells of report.ipynb, not executed: one that trains a student of the run anew, and the source of study and trainable, as
    far as they are at hand. Of what the run says only plain values of its axes get into the code."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    root = Path(__file__).parents[2]
    study = root / "studies" / file.name
    if not study.is_file():
        return []
    students = open_run(run).students.sort_values("seed", kind="stable")
    student, axes = students.iloc[0], records.read(run).attrs["axes"]
    plain = {axis: str(student[axis]) for axis in axes if axis != "seed" and pd.notna(student[axis])}
    plain["seeds"] = str(int(student["seed"]) + 1)  # a study takes them from 0 on
    plain = {axis: value for axis, value in plain.items() if re.fullmatch(r"[a-z]\w*", axis)}
    taken = {axis: value for axis, value in plain.items() if re.fullmatch(r"\w[\w.:+-]*", value)}
    flags = [w for a, value in taken.items() for w in (f"--{a.replace('_', '-')}", value.removesuffix(".0"))]
    left = [f"`--{axis.replace('_', '-')}`" for axis in plain if axis not in taken]
    but = f" {tell.listing(left)}: no plain word in this run; add to `flags` what it should be." if left else ""
    told = re.search(r'trainable="(trainables[\w.]*)', source := study.read_text())
    method = root.joinpath(*told[1].split(".")).with_suffix(".py") if told else root
    shown = {f"studies/{study.name}": source}
    if method.is_file():
        shown[str(method.relative_to(root))] = method.read_text()
    info = records.info(run)
    if re.fullmatch(r"\w+", preset := str(student.get("preset", info["preset"]))):
        flags += ["--preset", preset]
    flags += ["--data", "sample" if info["data"] == "sample" else "full"]  # never one for the other
    elsewhere = info["data"] == "own" or (info["data"] == "full" and bool(info.get("datasets")))
    code = AGAIN.format(study=file.stem, flags=flags, root=DATA_ROOT * elsewhere, given=", DATA_ROOT" * elsewhere)
    return [
        new_markdown_cell(f"## Train one student anew\n\nBy this process, without Ray; teachers and other artifacts first, where they are not in the cache. Seeds fix everything but rounding.{but}"),
        new_code_cell(code, metadata={"tags": ["raises-exception"]}),  # where data are missing, the rest of the notebook is executed yet
        *(new_markdown_cell(f"## Source: {name}, as it was when this was drawn\n\n~~~~python\n{text}\n~~~~") for name, text in shown.items()),
    ]  # fmt: skip


AGAIN = """import pandas as pd

from analysis.core import anew

flags = {flags!r}
{root}old, new = anew.trained(run, {study!r}, flags{given})
pd.DataFrame({{"in the run": old, "anew": new.iloc[0].reindex(old.index)}})"""
"""Trains one student; the notebook's last code."""

DATA_ROOT = 'DATA_ROOT = run.info.get("data_root")  # the folder of the data; if here it is another: DATA_ROOT = "/its/path"\n'
"""The line of it that whoever has the data elsewhere changes. The path that a run names gets into no code."""

DATA_ONLY = """# A run folder is data: no file in it is imported or read as settings, whatever its name
import contextlib
import os
import sys

if os.path.exists("run.json"):
    sys.path[:] = [folder for folder in sys.path if folder]
    with contextlib.chdir(sys.prefix):
        import matplotlib"""
"""The first code of report.ipynb, for Jupyter starts its kernel beside it."""


def _environment(run: Path, empty: str) -> dict[str, str]:
    """The environment of a page's kernel: that of the user, without what he has set for Python, IPython and matplotlib. Where
    modules and caches lie stays; `analysis` is this one."""
    root = Path(__file__).parents[2]
    paths = [
        str(root),
        *(str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry),
    ]
    stays = ("PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    theirs = {k: v for k, v in os.environ.items() if k in stays or not k.startswith(("PYTHON", "IPYTHON"))}
    return theirs | {
        RUN: str(run.absolute()),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        "IPYTHONDIR": empty,
        **plain_matplotlib(),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else each kernel warns of frozen modules
    }


def to_html(notebook: NotebookNode) -> str:
    """The report, its code folded, the answer first, as one file that needs no network and runs no script but ours: the script tags
    of nbconvert's template, which load MathJax, require.js and mermaid from elsewhere, are left out, images get the alternative
    text of `figure`, and plotly.js lies inside where there is something to turn."""
    from jinja2 import DictLoader
    from nbconvert.exporters import HTMLExporter

    class Installed(HTMLExporter):
        """With the templates that came with nbconvert, not those of the user or of the folder where he stands."""

        def get_prefix_root_dirs(self) -> list[str]:
            return [str(templates())]

    scripts = turning() if marked(notebook, "turns") else []
    offline = (
        "{% extends 'lab/index.html.j2' %}"
        f"{{% block html_head_js %}}{policy(scripts)}{{% endblock %}}"
        "{% block html_head_js_mathjax %}{% endblock %}"
        "{% block html_head_js_mermaidjs %}{% endblock %}"
        "{% block data_png scoped %}<div class='jp-RenderedImage jp-OutputArea-output'>"
        "<img src='data:image/png;base64,{{ output.data['image/png'] | trim }}'"
        " alt='{{ output | get_metadata('alt', 'image/png') | escape_html }}'></div>{% endblock %}"
        "{% block input_group %}{% if cell.source | trim %}<details class='code'><summary style='color: grey; font-size: 80%'>code</summary>"
        "{{ super() }}</details>{% endif %}{% endblock %}"
    )
    exporter = Installed(
        extra_loaders=[DictLoader({"offline.html.j2": offline})],
        template_file="offline.html.j2",
        extra_template_basedirs=[],
        template_data_paths=[],
        exclude_output_prompt=True,
        exclude_input_prompt=True,
        exclude_anchor_links=True,
    )
    shown = _without_empty_sections(_answer_first(notebook))
    text, _ = exporter.from_notebook_node(shown, resources={"config_dir": os.devnull})  # no style sheet of the user's
    head, end, tail = text.rpartition("</body>")
    return f"{head}{_scripts(scripts)}{end}{tail}"


def templates() -> Path:
    """The folder `share/jupyter` that came with nbconvert: by the list of its files or, where a distribution keeps none, beside this
    Python; no other, whatever Jupyter would find. FileNotFoundError where there is none."""
    lab = "nbconvert/templates/lab/index.html.j2"
    installed = [Path(file.locate()) for file in metadata.files("nbconvert") or () if file.as_posix().endswith(lab)]
    beside = [Path(prefix, "share", "jupyter", lab) for prefix in (sys.prefix, sys.base_prefix)]
    found = next((file for file in (*installed, *beside) if file.is_file()), None)
    if found is None:
        raise FileNotFoundError("nbconvert has no templates where it was installed: install it anew")
    return found.resolve().parents[3]


def _answer_first(notebook: NotebookNode) -> NotebookNode:
    """The page in the order of a reader: title, answer, the page, its details, how the networks were made and trained."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    moved = copy.deepcopy(notebook)
    last = next((c for c in moved.cells if any("answer" in _marks(o) for o in c.get("outputs", ()))), None)
    if last is None:
        return moved
    title, _, prose = moved.cells[0].source.partition("\n")
    answer = _bullets(marked(moved, "answer"))
    moved.cells[0] = new_markdown_cell(title)
    moved.cells[1:1] = [new_markdown_cell(f"## The answer\n\n{answer}\n\n{READING}\n\n### The question\n{prose}")]
    protocol = new_code_cell(outputs=[o for o in last.outputs if "protocol" in _marks(o)])
    last.outputs = [o for o in last.outputs if not {"answer", "protocol"} & _marks(o).keys()]
    moved.cells += [new_markdown_cell("## How the networks were made and trained"), protocol]
    return moved


def _marks(output: NotebookNode) -> Mapping[str, Any]:
    return output.get("metadata", {}).get(MARK, {})


def _without_empty_sections(notebook: NotebookNode) -> NotebookNode:
    """Less the sections whose code showed nothing, and the code of what the run was not asked."""
    kept = copy.copy(notebook)
    kept.cells = [cell for cell in notebook.cells if cell.metadata.get(MARK) != NOT_ASKED or cell.outputs]
    empty = {i for section in _empty_sections(kept) for i in section}
    kept.cells = [cell for i, cell in enumerate(kept.cells) if i not in empty]
    return kept


def _empty_sections(notebook: NotebookNode) -> Iterator[range]:
    """The cells of each section whose code showed nothing, for this run has nothing of theirs."""
    starts = [
        i
        for i, cell in enumerate(notebook.cells)
        if i and cell.cell_type == "markdown" and cell.source.startswith(("# ", "## "))
    ]
    ends = [*starts, len(notebook.cells)][1:]
    for start, end in zip(starts, ends, strict=True):
        code = [c for c in notebook.cells[start:end] if c.cell_type == "code" and c.metadata.get(MARK) != NOT_ASKED]
        told = any("### " in cell.source for cell in notebook.cells[start:end] if cell.cell_type == "markdown")
        if code and not told and not any(cell.outputs for cell in code):
            yield range(start, end)


def marked(notebook: NotebookNode, key: str) -> list[str]:
    """What the page said under a mark, in order: its `figure` names, its `answer`."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    found: list[str] = []
    for output in outputs:
        value = _marks(output).get(key, [])
        found += [value] if isinstance(value, str) else value
    return found
