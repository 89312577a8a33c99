"""What every page needs: one file that is a script and a notebook, a run folder to read and to draw into.

A page's first code cell calls `start`. In the notebook it opens the run. In the script (`python analysis/X.py [RUN]`) it
executes the file as a notebook inside the run folder, writes report.ipynb and report.html, prints the closing sentences
and the figures, and ends the process.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.core import records

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.figure import Figure
    from nbformat import NotebookNode

DPI = 130
MARK = "stillroom"  # key of what a page says about itself in the metadata of its outputs


@dataclass(frozen=True)
class Page:
    """A run that is being drawn. rows: all rows; attrs["axes"] names the axes."""

    path: Path
    info: Mapping[str, Any]
    rows: pd.DataFrame = field(repr=False)

    def table(self, name: str) -> pd.DataFrame:
        """A further table of the run; empty if the run has none. RecordsError if it is damaged."""
        import pandas as pd

        if not any((self.path / name).glob("*.parquet")):
            return pd.DataFrame()
        return records.read(self.path, name)

    @property
    def subtitle(self) -> str:
        """Data variant, number of seeds, preset and run: what every title must say."""
        counts = records.final(self.rows).drop_duplicates(["student", "seed"])["seed"].nunique()
        data = self.info.get("data_description") or f"data: {self.info.get('data')}"
        run = f"n = {counts} seed{'s' * (counts != 1)}, preset {self.info.get('preset')}, run {self.path.name}"
        status = self.info.get("status")
        unfinished = "" if status in ("done", None) else f" ({status})"
        return textwrap.fill(str(data), 85) + "\n" + run + unfinished

    def figure(self, figure: Figure, name: str) -> None:
        """Saves figures/<name>.png and shows it."""
        from matplotlib import pyplot

        path = self._file(f"{name}.png")
        figure.savefig(path, dpi=DPI, facecolor="white")
        pyplot.close(figure)
        alt = figure.get_suptitle() or name
        _show({"image/png": path.read_bytes(), "text/plain": path.name}, {"image/png": {"alt": alt}}, figure=path.name)

    def interactive(self, figure: go.Figure, name: str, caption: str) -> None:
        """Saves figures/<name>.html, plotly.js inside, and links it."""
        path = self._file(f"{name}.html")
        figure.write_html(path, include_plotlyjs=True, config={"displaylogo": False})
        link = f'<a href="figures/{path.name}">{caption}</a> (to turn; opens offline)'
        _show({"text/html": link, "text/plain": path.name}, figure=path.name)

    def caveats(self) -> Iterator[str]:
        """What every page says at its end: a small data set, students without a result, a run that has not ended."""
        from analysis.core import tell

        rows, done = self.rows, set(self.rows.loc[self.rows["status"] == "done", "student"])
        if self.info.get("data") == "sample" and self.info.get("datasets"):
            yield "The data are the small shipped sample: compare with published numbers in kind, not in size."
        failed = rows[(rows["status"] == "failed") & ~rows["student"].isin(done)].drop_duplicates("student")
        if len(failed):
            varied = [axis for axis in rows.attrs["axes"] if rows[axis].nunique() > 1]
            lost = [
                ", ".join(f"{axis} {s[axis]}" for axis in varied) + f" ({s['error']})"
                for s in failed.to_dict("records")
            ]
            total = rows["student"].nunique()
            yield f"{len(failed)} of {total} students failed and are holes, not low points: {tell.listing(lost)}."
        stopped = rows.loc[rows["status"] == "stopped", "student"].nunique()
        if stopped:
            yield f"{tell.count(stopped, 'student')} stopped early by the scheduler, without a test: holes too."
        if self.info.get("status") not in ("done", None):
            asked = self.info.get("students", "?")
            yield f"The run's status is {self.info['status']}: {len(done)} of {asked} students are done; `--resume {self.info.get('run', 'latest')}` goes on."

    def close(self, sentences: Iterable[str]) -> None:
        """The page's last words: shown here and printed by the script."""
        said = list(sentences)
        if self.info.get("preset") == "smoke":
            said.insert(0, "**Preset smoke only shows that everything works: its numbers say nothing.**")
        _show({"text/markdown": "\n".join(f"- {s}" for s in said), "text/plain": "\n".join(said)}, sentences=said)

    def _file(self, name: str) -> Path:
        path = self.path / "figures" / name
        path.parent.mkdir(exist_ok=True)
        return path


def _show(data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, **mark: Any) -> None:
    from IPython.display import display

    display({**data}, raw=True, metadata={**(metadata or {}), MARK: mark})


def start(study: str) -> Page:
    """In a notebook: the run whose folder it lies in, else the latest run of `study` under ./results. In a script: see
    above; SystemExit 0, or 2 after one line about a run that cannot be read, or 1 if the page failed."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        raise SystemExit(main(study, Path(sys.modules["__main__"].__file__ or "")))
    here = Path.cwd()
    return open_run(here if (here / "run.json").is_file() else records.find_run(study))


def open_run(path: Path) -> Page:
    """A run ready to be drawn. RecordsError if it cannot be read or no student is done."""
    page = Page(path, records.info(path), records.read(path))
    rows = page.rows
    if not page.rows.attrs["axes"]:
        page.rows.attrs["axes"] = [name for name in page.info.get("axes", {}) if name in rows]
    if records.final(rows).empty:
        failed = rows[rows["status"] == "failed"]
        why = f"; {failed['student'].nunique()} failed: {failed['error'].iloc[0]}" if len(failed) else ""
        raise records.RecordsError(f"{path}: no student is done{why}")
    return page


def main(study: str, file: Path, words: Sequence[str] | None = None) -> int:
    """The command line of a page; the exit code."""
    parser = argparse.ArgumentParser(prog=f"python analysis/{file.name}", description=f"Draws a run of {study}.")
    parser.add_argument("run", nargs="?", default="latest", help="name or folder of the run (default: the latest)")
    parser.add_argument("--root", default="results", help="folder of all results (default: %(default)s)")
    given = parser.parse_args(words)
    try:
        path = records.find_run(study, given.run, given.root)
        open_run(path)  # a run that cannot be read is said here in one line, not by a kernel in forty
        notebook, error = render(file, path)
    except (records.RecordsError, OSError) as problem:
        print(f"{file.stem}: {problem}", file=sys.stderr)
        return 2
    if error:
        print(f"{file.stem}: the page stopped: {error} (see {path / 'report.ipynb'})", file=sys.stderr)
        return 1
    print(*(sentence.replace("**", "") for sentence in marked(notebook, "sentences")), sep="\n")
    print(f"\nFigures in {path / 'figures'}:")
    print(*(f"  {name}" for name in marked(notebook, "figure")), sep="\n")
    print(f"Report: {path / 'report.html'} (notebook: report.ipynb)")
    return 0


def render(file: Path, run: Path) -> tuple[NotebookNode, str]:
    """Executes a page once inside the run folder; writes report.ipynb and, if it went well, report.html.

    Returns the executed notebook, and the error's last line or "".
    """
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # else each kernel warns of frozen modules
    import jupytext
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = jupytext.read(file, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["title"] = f"{file.stem}: {run.name}"
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(run)}},
        extra_arguments=["--Application.log_level=40"],  # else each kernel warns of TCP, though it stays on loopback
    )
    error = ""
    try:
        client.execute()
    except CellExecutionError as problem:
        error = f"{problem.ename}: {problem.evalue}".splitlines()[0]
    nbformat.write(notebook, run / "report.ipynb")
    if not error:
        (run / "report.html").write_text(to_html(notebook), encoding="utf-8")
    return notebook, error


def to_html(notebook: NotebookNode) -> str:
    """The report without its code, as one file that needs no network: the script tags of nbconvert's template, which
    load MathJax, require.js and mermaid from elsewhere, are left out, and images get the alternative text of `figure`."""
    from jinja2 import DictLoader
    from nbconvert.exporters import HTMLExporter

    offline = (
        "{% extends 'lab/index.html.j2' %}"
        "{% block html_head_js %}{% endblock %}"
        "{% block html_head_js_mathjax %}{% endblock %}"
        "{% block html_head_js_mermaidjs %}{% endblock %}"
        "{% block data_png scoped %}<div class='jp-RenderedImage jp-OutputArea-output'>"
        "<img src='data:image/png;base64,{{ output.data['image/png'] | trim }}'"
        " alt='{{ output | get_metadata('alt', 'image/png') | escape_html }}'></div>{% endblock %}"
    )
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"offline.html.j2": offline})],
        template_file="offline.html.j2",
        exclude_input=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    html, _ = exporter.from_notebook_node(_without_empty_sections(notebook))
    return html


def _without_empty_sections(notebook: NotebookNode) -> NotebookNode:
    """Less the sections whose code showed nothing, for this run has nothing of theirs."""
    kept = copy.copy(notebook)
    starts = [
        i for i, cell in enumerate(notebook.cells) if cell.cell_type == "markdown" and cell.source.startswith("## ")
    ]
    ends = [*starts[1:], len(notebook.cells)]
    empty: set[int] = set()
    for start, end in zip(starts, ends, strict=True):
        code = [cell for cell in notebook.cells[start:end] if cell.cell_type == "code"]
        if code and not any(cell.outputs for cell in code):
            empty.update(range(start, end))
    kept.cells = [cell for i, cell in enumerate(notebook.cells) if i not in empty]
    return kept


def marked(notebook: NotebookNode, key: str) -> list[str]:
    """What the page said under a mark, in order: its `figure` names, its `sentences`."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    found: list[str] = []
    for output in outputs:
        value = output.get("metadata", {}).get(MARK, {}).get(key, [])
        found += [value] if isinstance(value, str) else value
    return found
