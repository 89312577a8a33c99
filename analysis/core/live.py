"""What the board says of runs while they are written: which there are, how far one is, what failed, the best so far, its plane."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from analysis.core import blocks, records, statistics, tell
from analysis.core.choice import Choice, choices, framed
from analysis.core.figures.heatmap import raster, scatter
from analysis.core.figures.interactive import interactive
from analysis.core.figures.scales import HOLE, MAP, ends, label, matching, ordered, positions, scattered
from analysis.core.report import Run, png, run_of

PANELS = 12  # of a plane at most
NUMBERED = 200  # cells of a plane that still get numbers
LISTED = 200  # failed students
CHOICES = 200  # panels to choose from
BESIDE = 2  # panels in a line, where that leaves their numbers large enough to read on a page: of at most
ACROSS = 5  # cells in a line each
WIDEST = 13  # cells in a line of one panel, likewise, where its other axis has fewer
WORD, TITLE = 9, 50  # letters of a line below a cell, and above a panel


@dataclass(frozen=True)
class Entry:
    """A run folder under the results. key: its path there; info: its run.json, or nothing and the `problem` with it."""

    key: str
    where: str
    info: Mapping[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class Progress:
    """Students of a run: how many are asked for and how they ended; per_minute: how many ended in each minute of its last session;
    left: seconds until the last one ends. Both are NaN where nothing is known of them yet."""

    total: int
    done: int = 0
    failed: int = 0
    stopped: int = 0
    per_minute: float = math.nan
    left: float = math.nan

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.stopped


@dataclass(frozen=True)
class View:
    """What is drawn: the metric z over the axes x and y, whose other axes make panels; panel: the one that is drawn alone, by its
    place among them."""

    x: str
    y: str
    z: str
    panel: int | None = None


@dataclass(frozen=True, eq=False)
class Look:
    """A run as it was found. run: None while no student is done."""

    entry: Entry
    progress: Progress
    failures: pd.DataFrame
    run: Run | None
    written: float  # when the last rows were, in seconds since 1970


@dataclass(frozen=True)
class Shown:
    """What is drawn of a run. axes, metrics, panels: what there is to choose from; heading: of what is best; best: see `said`; plane: a
    PNG; surface: to turn."""

    axes: list[str]
    metrics: list[str]
    panels: list[str]
    heading: str
    best: list[dict[str, str]]
    plane: bytes
    surface: go.Figure | None


class Results:
    """The runs under a folder or URI: results, the runs of one study, or one run. What was read once is not read again."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") if "://" in root else str(Path(root).expanduser().absolute())
        self.fs, self.path = records.open_folder(self.root)
        # seconds until runs are listed again: over a network each is a request
        self.patience = 10.0 if "://" in root else 0.0
        self._listed = -math.inf, list[Entry]()
        self._infos: dict[str, tuple[Any, Entry]] = {}
        self._watched: dict[str, records.Watched] = {}
        self._looks: dict[str, tuple[Any, Look]] = {}

    def entries(self) -> list[Entry]:
        """All runs, the last started first. RecordsError where the folder cannot be listed."""
        if time.monotonic() - self._listed[0] > self.patience:
            self._listed = time.monotonic(), self._list()
        return self._listed[1]

    def _list(self) -> list[Entry]:
        import pyarrow.fs as pafs

        try:
            known = self.fs.get_file_info([f"{self.path}/run.json"])
            folders = [] if known[0].is_file else [self.path]
            for _ in range(2):  # studies, and their runs
                found = [
                    f
                    for folder in folders
                    for f in self.fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
                ]
                folders = [f.path for f in found if f.type == pafs.FileType.Directory]
                known += self.fs.get_file_info([f"{folder}/run.json" for folder in folders]) if folders else []
        except OSError as error:
            raise records.RecordsError(f"{self.root} cannot be listed: {str(error).partition(chr(10))[0]}") from None
        return sorted(map(self._entry, (f for f in known if f.is_file)), key=_started, reverse=True)

    def _entry(self, file: Any) -> Entry:
        stamp, folder = (file.mtime, file.size), file.path.removesuffix("/run.json")
        if self._infos.get(folder, (None,))[0] != stamp:
            key = folder[len(self.path) :].strip("/") or folder.rsplit("/", 1)[-1]
            try:
                entry = Entry(key, self.root + folder[len(self.path) :], records.info_in(self.fs, folder))
            except records.RecordsError as problem:
                entry = Entry(key, folder, {}, str(problem))
            self._infos[folder] = stamp, entry
        return self._infos[folder][1]

    def look(self, entry: Entry) -> Look:
        """RecordsError where something in the run is damaged."""
        watched = self._watched.setdefault(entry.key, records.Watched(entry.where))
        planned, rows = watched.parts("students"), watched.parts("rows")
        seen = entry.info, [watched.stamps[table] for table in ("students", "rows")]
        if self._looks.get(entry.key, (None,))[0] != seen:
            self._looks[entry.key] = seen, _look(entry, watched, bool(planned or rows), bool(rows))
        return self._looks[entry.key][1]


def _look(entry: Entry, watched: records.Watched, planned: bool, begun: bool) -> Look:
    students = records.students(watched) if planned else pd.DataFrame()
    if not begun:
        return Look(entry, Progress(max(_count(entry.info.get("students")), len(students))), pd.DataFrame(), None, 0.0)
    rows = records.read(watched)
    run = run_of(Path(entry.key), watched, entry.info, rows) if (rows["status"] == "done").any() else None
    how_far = progress(entry.info, rows, students, watched.written)
    return Look(entry, how_far, failures(rows), run, watched.written)


def _started(entry: Entry) -> tuple[str, str]:
    return str(entry.info.get("start") or ""), entry.key


def _names(info: Mapping[str, Any], key: str) -> list[str]:
    found = info.get(key)
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _count(number: Any) -> int:
    return number if isinstance(number, int) and 0 <= number < 10**9 else 0


def progress(info: Mapping[str, Any], rows: pd.DataFrame, students: pd.DataFrame, written: float) -> Progress:
    """How far a run is. students: those that are planned; written: when its last rows were, in seconds since 1970."""
    last = rows.sort_values("status", key=records.ranks, kind="stable").drop_duplicates("student", keep="last")
    ended = last[last["status"] != "running"]
    counts = {status: int((ended["status"] == status).sum()) for status in ("done", "failed", "stopped")}
    total = max(_count(info.get("students")), len(students), len(last))
    known = Progress(total, **counts)
    return replace(known, per_minute=_per_minute(info, known.ended, written), left=_left(info, last, students, total))


def _per_minute(info: Mapping[str, Any], ended: int, written: float) -> float:
    """By the clock: of a session that has ended its seconds, of one that goes on the time until its last rows."""
    sessions = info.get("sessions") or [{}]
    session = sessions[-1]
    seconds, before = session.get("seconds"), session.get("done", 0 if len(sessions) == 1 else None)
    if seconds is None and written:
        try:
            seconds = written - datetime.fromisoformat(str(session.get("start"))).timestamp()
        except (ValueError, OverflowError):
            return math.nan
    if not isinstance(before, int) or not seconds or seconds <= 0 or ended <= before:
        return math.nan
    return 60 * (ended - before) / seconds


def _left(info: Mapping[str, Any], last: pd.DataFrame, students: pd.DataFrame, total: int) -> float:
    """Training that is left, by what students of the same trial axes took that are done, over the workers that it can keep busy."""
    axes = [name for name in _names(info, "trial_axes") if name in students]
    asked = students.merge(last[["student", "status", "seconds"]], how="left", on="student")
    done = asked[asked["status"] == "done"]
    if done.empty or info.get("status") != "running":
        return math.nan
    usual = done["seconds"].mean()
    left = asked[asked["status"].isna() | (asked["status"] == "running")]
    if axes:
        each = done.groupby(axes, dropna=False)["seconds"].mean().rename("usual").reset_index()
        left = left.merge(each, how="left", on=axes)
    expected = left["usual"].fillna(usual) if axes else pd.Series(usual, index=left.index)
    work = float((expected - left["seconds"].fillna(0)).clip(lower=0).sum()) + usual * max(total - len(asked), 0)
    busy = left["pack"].nunique() + max(total - len(asked), 0)
    return work / max(1, min(_count(info.get("workers")) or 1, busy))


def failures(rows: pd.DataFrame) -> pd.DataFrame:
    """The students without a result, their axes as far as these vary, and why: the first `LISTED`, by cell."""
    done = set(rows.loc[rows["status"] == "done", "student"])
    failed = rows[(rows["status"] == "failed") & ~rows["student"].isin(done)].drop_duplicates("student")
    varied = [axis for axis in rows.attrs["axes"] if rows[axis].nunique() > 1]
    return failed[[*varied, "error", "student"]].head(LISTED)


def metrics(run: Run) -> list[str]:
    """What was measured of students that are done, the study's own metric first."""
    known = {*records.BASE_COLUMNS, *run.axes}
    found = [str(name) for name in run.students if name not in known and run.students[name].dtype.kind == "f"]
    found = [name for name in found if run.students[name].notna().any()]
    named = [run.info.get("metric"), *run.info.get("goals", {}).values()]
    return sorted(
        found, key=lambda name: (name not in named, not name.startswith(("val_", "test_")), found.index(name))
    )


def axes(run: Run) -> list[str]:
    """The axes that a plane may be drawn over: those that vary, student axes of many values first; where they are fewer than two, the
    seed and others too."""
    several, students = run.varied(), _names(run.info, "student_axes")
    rank = {name: (name not in students, -run.cells[name].nunique(), i) for i, name in enumerate(several)}
    rest = [name for name in ("seed", *run.axes) if name in run.axes and name not in several]
    return [*sorted(several, key=lambda name: rank[name]), *dict.fromkeys(rest)]


def first_view(run: Run) -> View | None:
    """The plane that is drawn where nobody says which: over the first two axes, in the order of the study, or the longer one upwards
    where the page is too narrow for it."""
    planes, measured = axes(run), metrics(run)
    if len(planes) < 2 or not measured:
        return None
    x, y = sorted(planes[:2], key=list(run.axes).index)
    return View(y, x, measured[0]) if len(run.axes[x]) > max(WIDEST, len(run.axes[y])) else View(x, y, measured[0])


def others(run: Run, view: View) -> list[str]:
    """The axes that make panels."""
    return run.varied(but=(view.x, view.y))


def panels(run: Run, view: View) -> list[dict[str, Any]]:
    """The axes of each panel, without those where the metric is not measured or, of a search, not yet."""
    names = others(run, view)
    open_ones = run.cells[run.cells[view.z].notna() | ((run.cells["status"] == "missing") & (not _search(run)))]
    found = open_ones[names].drop_duplicates()
    return (
        [dict(zip(names, values, strict=True)) for values in found.itertuples(index=False, name=None)]
        if names
        else [{}]
    )


def _search(run: Run) -> bool:
    return run.info.get("search", "grid") != "grid"


def drawn(run: Run, view: View) -> tuple[pd.DataFrame, list[str]]:
    """The cells of the panels that are drawn, the one that is asked for or the first `PANELS`, and the axes that name these."""
    found = panels(run, view)
    asked = found[:PANELS] if view.panel is None else found[view.panel : view.panel + 1]
    cells = run.cells.merge(pd.DataFrame(asked), how="inner") if asked[0] else run.cells
    if _search(run):
        cells = cells[cells["status"] != "missing"]
    alone = view.panel is not None
    return cells, [name for name in others(run, view) if alone or len({values[name] for values in asked}) > 1]


def best(run: Run, view: View) -> dict[Any, Choice]:
    """For each panel that is drawn what validation would choose now, by the metric that is drawn where it is one of validation; what
    is reported is its namesake on test, where there is one. Of metrics of which less is better nothing."""
    own = view.z if view.z.startswith("val_") else str(run.info.get("metric"))
    measured = metrics(run)
    if own not in measured or run.info.get("mode", "max") != "max":
        return {}
    test = own.replace("val_", "test_", 1)
    cells, names = drawn(run, view)
    settings = run.settings(but=(view.x, view.y), first=names, cells=cells)
    among = [axis for axis in (view.x, view.y) if axis != "seed"]
    return dict(choices(settings, among, by=own, report=test if test in measured else own, margin=run.margin))


def so_far(run: Run) -> str:
    """What is added to `chosen` until the run is done."""
    return " so far" * bool(run.unfinished)


def said(run: Run, chosen: Mapping[Any, Choice]) -> list[dict[str, str]]:
    """A line for each panel: the chosen cell, what it is worth, and how its rivals stand."""
    lines = []
    for setting, choice in chosen.items():
        value = choice.by_seed()
        worth = tell.percent(value) if records.is_share(choice.metric) else tell.number(value, 4, n=True)
        states = {state: len(choice.state(state)) for state in ("as good", "open", "worse")}
        rivals = ", ".join(f"{number} {state}" for state, number in states.items() if number) or "none"
        line = {
            "of": setting.title or "all",
            f"chosen{so_far(run)}": tell.cell(choice.best),
            label(choice.metric): worth,
            "rivals": rivals,
        }
        lines.append(line)
    return lines


def picture(run: Run, view: View, chosen: Mapping[Any, Choice]) -> bytes:
    """The plane as PNG: cells that are not done yet are blank, failed ones crossed, the chosen ones framed. Many cells get colours
    alone, as do the points of a search."""
    (cells, columns), count, pngs = drawn(run, view), len(panels(run, view)), []
    more = f"the first {PANELS} of {count} panels" if view.panel is None and count > PANELS else ""
    measured = cells[(cells["status"] == "done") & cells[view.z].notna()]  # whose seeds the title counts
    run = replace(run, sink=lambda figure, name: pngs.append(png(figure)), students=run.students if measured.empty else measured)
    heading, framing = label(view.z).removesuffix(", %").capitalize(), f"chosen on validation{so_far(run)}"
    heading += ": nothing yet" * measured.empty
    numbers = all(pd.api.types.is_numeric_dtype(cells[axis]) for axis in (view.x, view.y))
    many = len(cells.drop_duplicates([*columns, view.x, view.y])) > NUMBERED
    if numbers and (_search(run) or many) and len(measured):
        means = statistics.summarise(cells, [*columns, view.x, view.y], view.z, holes=_search(run))
        limits = float(means[view.z].min()), float(means[view.z].max())
        frames = [frame for frame in framed(chosen) if frame["state"] == "chosen"]
        heading += f"; marked: {framing}" * bool(frames)
        blocks.facets(
            run, means, _colored(view, frames, limits), heading, name="plane", columns=columns, unit=label(view.z), note=more,
            scale=ScalarMappable(Normalize(*limits), MAP), wrap=BESIDE,
        )  # fmt: skip
    else:
        blocks.plane(
            run, cells, view.x, view.y, view.z, heading, columns=columns, framed=framed(chosen), surfaces=False, note=more,
            digits=1 if records.is_share(view.z) else 3, also=_dressed(view), framing=framing, colors=(0, 100) if measured.empty else None,
            wrap=BESIDE if cells[view.x].nunique() <= ACROSS else 1, blank=True,
        )  # fmt: skip
    return pngs[0]


def _colored(view: View, frames: Sequence[Mapping[str, Any]], limits: tuple[float, float]) -> blocks.Also:
    """Fields in colour, or points where they lie on no grid, of the means of a panel; those of `frames` are marked. limits: of colours."""

    def draw(ax: Axes, panel: blocks.Panel) -> None:
        ax.title.set_text(_folded(panel.title))
        best = [{k: v for k, v in frame.items() if k in panel.table} for frame in frames]
        best = [cell for cell in best if len(matching(panel.table, cell))]
        if scattered(panel.table, view.x, view.y):
            scatter(panel.table, view.x, view.y, view.z, best, limits, ax)
            return
        raster(panel.table, view.x, view.y, view.z, Normalize(*limits), ax)
        for found in (matching(panel.table, cell) for cell in best):
            x, y = (positions(found[axis], axis) for axis in (view.x, view.y))
            ax.plot(x, y, "*", color=HOLE, markersize=14)

    return draw


def _folded(title: str) -> str:
    """The lines of a panel's title, broken between axes where that can be."""
    return textwrap.fill(title.replace(" ", "\N{NO-BREAK SPACE}").replace(",\N{NO-BREAK SPACE}", ", "), TITLE)


def _dressed(view: View) -> blocks.Also:
    """Breaks long titles, blanks the cells of which no student has ended, and says words as words: in lines, on the x axis turned where
    one is long."""

    def dress(ax: Axes, panel: blocks.Panel) -> None:
        ax.title.set_text(_folded(panel.title))
        if scattered(panel.table.drop_duplicates([view.x, view.y]), view.x, view.y):
            return
        columns, rows = ordered(panel.table[view.x]), ordered(panel.table[view.y])
        for cell, of in panel.table.groupby([view.x, view.y]):
            if (of["status"] == "missing").all():
                corner = columns.index(cell[0]) - 0.5, rows.index(cell[1]) - 0.5
                ax.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor="0.9", zorder=4))
        for axis, values, width in ((ax.xaxis, columns, WORD), (ax.yaxis, rows, 2 * WORD)):
            if isinstance(values[0], str):
                words = [textwrap.fill(value.replace("_", " "), width, break_long_words=False) for value in values]
                long = axis is ax.xaxis and max(map(len, "\n".join(words).split("\n"))) > width
                turned: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if long else {}
                axis.set_ticks(range(len(words)), words, **turned)

    return dress


def turning(run: Run, view: View, chosen: Mapping[Any, Choice]) -> go.Figure | None:
    """The panel that is asked for, or the first, as a surface to turn; None where an axis has no order, or fewer than two values."""
    panel = view.panel or 0
    cells, _ = drawn(run, replace(view, panel=panel))
    cells = cells[cells["status"] != "missing"]
    numbers = all(pd.api.types.is_numeric_dtype(cells[axis]) and cells[axis].nunique() > 1 for axis in (view.x, view.y))
    if not numbers or cells[view.z].isna().all():
        return None
    means, of = statistics.summarise(cells, [view.x, view.y], view.z, holes=True), panels(run, view)[panel]
    low, high = means[view.z].min(), means[view.z].max()
    frames = [frame for frame in framed(chosen) if all(frame.get(k, v) == v for k, v in of.items())]
    marks = [{k: v for k, v in frame.items() if k in (view.x, view.y, "state")} for frame in frames]
    span = (0, 100) if ends(view.z) else (low, high if high > low else low + 1)
    figure = interactive(means, view.x, view.y, view.z, run.named(of), (), marks, span, (low, high))
    return figure.update_layout(uirevision="board", showlegend=False)  # a user who has turned it sees it stay


def state(look: Look, now: float) -> str:
    """`running, 12 of 36 students, last rows 5 s ago`"""
    status = str(look.entry.info.get("status", "unknown"))
    silent = f", last rows {duration(now - look.written)} ago" if status == "running" and look.written else ""
    return f"{status}, {look.progress.ended} of {look.progress.total} students{silent}"


def numbers(look: Look, now: float) -> str:
    """`10 done, 2 failed; 6.1 students a minute; about 14 min left, until 21:32`"""
    p = look.progress
    counts = {"done": p.done, "failed": p.failed, "stopped": p.stopped, "to come": p.total - p.ended}
    said = [", ".join(f"{number} {what}" for what, number in counts.items() if number)]
    if not math.isnan(p.per_minute):
        said.append(f"{p.per_minute:.3g} students a minute")
    if (left := p.left - (now - look.written)) > 0:  # it shrinks while no rows come; of NaN, and of what is overdue, nothing is said
        end = datetime.fromtimestamp(now + left).strftime("%a %H:%M")
        said.append(f"about {duration(left)} of training left, until {end}")
    return "; ".join(said)


def duration(seconds: float) -> str:
    """`5 s`, `3 min`, `2 h 5 min`, `3 days`"""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{minutes} min" if not hours else f"{hours} h {minutes} min" if hours < 72 else f"{hours // 24} days"


def selected(run: Run, asked: Mapping[str, Any]) -> View | None:
    """The view that is asked for, as far as this run has it."""
    usual, planes = first_view(run), axes(run)
    if usual is None:
        return None
    x, y, z, panel = (asked.get(name) for name in ("x", "y", "z", "panel"))
    view = replace(usual, z=z) if isinstance(z, str) and z in metrics(run) else usual
    if isinstance(x, str) and isinstance(y, str) and {x, y} <= {*planes} and x != y:
        view = replace(view, x=x, y=y)
    return replace(view, panel=panel) if isinstance(panel, int) and 0 <= panel < len(panels(run, view)) else view


def show(run: Run, view: View) -> Shown:
    """All that is drawn of a view."""
    chosen, titles = best(run, view), [run.named(of) for of in panels(run, view)[:CHOICES]]
    heading = f"Best{so_far(run)}: chosen on validation" + " among the cells that are done" * bool(so_far(run))
    plane, surface = picture(run, view, chosen), turning(run, view, chosen)
    return Shown(axes(run), metrics(run), titles, heading, said(run, chosen), plane, surface)
