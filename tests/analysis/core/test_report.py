"""Run folders from strangers, and users with settings of their own: one page, drawn where all of them are."""

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import jupytext
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser
from matplotlib import image

from analysis.core import interpreter, records, report

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "analysis" / "mnistm_kd.py"
SCRIPT = "<script>document.title='PWNED'</script><img src=x onerror=\"document.title='PWNED'\">"
LABELS = f"/../../$\\x λ {SCRIPT} [a](javascript:alert) **"  # in the place of 500
TEMPLATE = "{% set _ = cycler.__init__.__globals__.os.mkdir('PWNED') %}"
CODE = "import os; os.mkdir({!r}); raise ImportError('shadowed')"


def accuracy(view, labels, t, w, seed):
    return None if (view, w, t) == ("source", 0.5, 1) else 0.6 + 0.1 * w + 0.01 * seed


def hostile(run: Path, pwned: str) -> None:
    """The run as a stranger might send it."""
    for file in [*run.glob("rows/*"), *run.glob("cells/*"), *run.glob("students/*")]:
        table = pq.read_table(file)
        lines = [
            {**line, "target_labels": LABELS if line["target_labels"] == "500" else "all"}
            | ({"error": f"RuntimeError: {SCRIPT}\x1b]0;PWNED\x07"} if line.get("error") else {})
            for line in table.to_pylist()
        ]
        pq.write_table(table.from_pylist(lines, schema=table.schema), file)
    info = json.loads((run / "run.json").read_text())
    info["axes"]["target_labels"] = [LABELS, "all"]
    info |= {
        "status": f"failed{SCRIPT}",
        "students": SCRIPT,
        "preset": f"smoke{SCRIPT}",
        "data_description": f"$\\x {SCRIPT}",
    }
    info |= {
        "method": {SCRIPT: SCRIPT},
        "networks": {SCRIPT: SCRIPT},
        "axes_help": {"temperature": SCRIPT},
        "digest": "0" * 64,
    }
    (run / "run.json").write_text(json.dumps(info))
    for name in ("matplotlib", "ipykernel_launcher", "ipykernel", "numpy", "sitecustomize", "html", "ipython_config"):
        (run / f"{name}.py").write_text(CODE.format(pwned))
    (run / "matplotlibrc").write_bytes(b"text.usetex: True\nbackend: module://html\n\xff\n")
    for template in ("lab", "base"):
        (run / template).mkdir()
        (run / template / "index.html.j2").write_text(TEMPLATE)


def settings_of_a_user(home: Path, pwned: str) -> dict[str, str]:
    """His environment, and files in his home."""
    for name in (
        "ipython/profile_default/startup",
        "jupyter/kernels/python3",
        "jupyter/nbconvert/templates/lab",
        "config/custom",
    ):
        (home / name).mkdir(parents=True)
    (home / "ipython/profile_default/startup/0.py").write_text(CODE.format(pwned))
    (home / "startup.py").write_text(CODE.format(pwned))
    (home / "jupyter/kernels/python3/kernel.json").write_text(
        json.dumps({"argv": ["false", "{connection_file}"], "display_name": "gone", "language": "python"})
    )
    (home / "jupyter/nbconvert/templates/lab/index.html.j2").write_text(TEMPLATE)
    (home / "config/custom/custom.css").write_text("body { display: none }  /* PWNED */")
    (home / "rc").write_text("text.usetex: True\naxes.facecolor: red\nfigure.facecolor: red\nbackend: TkAgg\n")
    return {
        **os.environ, "PYTHONPATH": str(ROOT), "PYTHONSTARTUP": str(home / "startup.py"), "PYTHONIOENCODING": "ascii", "LC_ALL": "C",
        "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "IPYTHONDIR": str(home / "ipython"), "JUPYTER_PATH": str(home / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(home / "config"), "MPLBACKEND": "nonsense", "MATPLOTLIBRC": str(home / "rc"),
    }  # fmt: skip


def test_templates_are_those_that_came_with_nbconvert_also_where_this_python_has_none_beside_it(tmp_path, monkeypatch):
    from nbformat import v4

    settings_of_a_user(tmp_path, "PWNED")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for prefix in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, prefix, str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    page = v4.new_notebook(cells=[v4.new_markdown_cell("# A page")], metadata={"title": "a page"})
    assert "A page</h1>" in report.to_html(page) and not (tmp_path / "PWNED").exists()
    monkeypatch.setattr(report.metadata, "files", lambda name: None)
    with pytest.raises(FileNotFoundError, match="install it anew"):
        report.templates()


def test_a_section_that_shows_nothing_is_left_out_of_the_report_and_says_so_in_the_notebook(tmp_path, made_up_run):
    run, page = made_up_run(tmp_path, accuracy), tmp_path / "page.py"
    sections = {"full": "print('something')", "empty": "later = 'of use'", "last": "print(later)"}
    cells = [f"# %% [markdown]\n# ## The {name} one\n# Its prose.\n\n# %%\n{code}\n" for name, code in sections.items()]
    page.write_text("\n".join(["# %% [markdown]\n# # A page\n", *cells]))
    notebook, error = report.render(page, run)
    text = (run / "report.html").read_text()
    assert error == "" and "The full one" in text and "The last one" in text and "The empty one" not in text
    prose = [cell.source for cell in notebook.cells if cell.source.startswith("## ")]
    assert [source.endswith("\n\n*This run has nothing of it.*") for source in prose] == [False, True, False]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, made_up_run):
    """The run folder, what the page printed, and the folder which would have told of executed code. The script stands in the run."""
    folder = tmp_path_factory.mktemp("strangers")
    run, pwned = made_up_run(folder / "results", accuracy), folder / "PWNED"
    hostile(run, str(pwned))
    outside = folder / "outside.html"
    outside.write_text("mine")
    (run / "report.html").symlink_to(outside)
    environment = settings_of_a_user(folder / "home", str(pwned))
    before = {path for path in folder.rglob("*") if run not in path.parents}
    done = subprocess.run([sys.executable, PAGE, "."], cwd=run, env=environment, capture_output=True, timeout=250)
    assert done.returncode == 0, done.stderr.decode()
    assert {path for path in folder.rglob("*") if run not in path.parents} == before and outside.read_text() == "mine"
    assert not list(run.rglob("PWNED")) and not list(run.rglob(".*"))
    return run, done.stdout, done.stderr.decode()


def test_a_strangers_run_is_drawn_and_nothing_of_it_or_of_the_users_settings_is_executed(drawn):
    run, said, complained = drawn
    assert complained == "" and b"validation chooses T =" in said and b"\\u03bb" in said  # a terminal of ASCII
    assert b"\x1b" not in said and b"\x07" not in said
    text = (run / "report.html").read_text()
    assert not (run / "report.html").is_symlink() and "PWNED */" not in text
    figure = image.imread(run / "figures" / "heatmaps.png")
    assert (figure[0, 0] == 1).all() and not (figure == [1, 0, 0, 1]).all(axis=2).any()  # white, and nothing is red


def test_what_a_run_says_is_text_in_the_report_and_in_its_notebook(drawn):
    run, _, _ = drawn
    text = (run / "report.html").read_text()
    assert "&lt;script&gt;document.title" in text and "&lt;img src=x" in text
    notebook = json.loads((run / "report.ipynb").read_text())
    outputs = [o.get("data", {}) for c in notebook["cells"] for o in c.get("outputs", ())]
    for shown in [
        text,
        *(run / "figures").glob("*.html"),
        *("".join(o.get(k, "")) for o in outputs for k in ("text/html", "text/markdown")),
    ]:
        told = shown if isinstance(shown, str) else shown.read_text()
        assert not re.search(r"<img src=x|<script>document|href=.javascript", told)


def test_a_run_json_that_was_changed_by_hand_is_said_before_the_answer(drawn):
    run, said, _ = drawn
    warning = "run.json is damaged or was changed: its content has not the digest that it names."
    assert said.decode().startswith(warning) and b"Without a digest" in said
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", (run / "report.html").read_text().split("<body", 1)[1]))
    answer = shown.index("The answer")
    assert (
        answer
        < shown.index(warning)
        < answer + 100
        < shown.index("validation chooses T =")
        < shown.index("The question")
    )


def test_what_a_run_says_gets_into_no_code(drawn):
    run, _, _ = drawn
    cells = json.loads((run / "report.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (again,) = [text for text in code if "anew.trained" in text]
    assert "--temperature" in again and "target-labels" not in again, "its value is no plain word"
    assert not [text for text in code if "PWNED" in text]
    prose = "".join(text for cell in cells if "one student anew" in (text := "".join(cell["source"])))
    assert "`--target-labels`: no plain word in this run" in prose


@pytest.mark.parametrize(("data", "asks"), [("sample", False), ("full", True), ("own", True), ("else", False)])
def test_the_path_of_the_data_is_a_line_to_change_and_no_path_of_the_runs_is_code(tmp_path, made_up_run, data, asks):
    run = made_up_run(tmp_path, accuracy)
    info = json.loads((run / "run.json").read_text()) | {"data": data, "data_root": "'); PWNED(''"}
    (run / "run.json").write_text(json.dumps(info))
    code = report.again(PAGE, run)[1].source
    assert ("DATA_ROOT = " in code) == ("flags, DATA_ROOT)" in code) == asks and "PWNED" not in code
    flags = code.split("flags = ")[1].splitlines()[0]
    assert f"'--data', '{'sample' if data == 'sample' else 'full'}'" in flags and "'--preset', 'smoke'" in flags


def test_the_notebook_beside_the_rows_imports_none_of_their_neighbours(drawn):
    """Jupyter starts a kernel beside the notebook, with that folder on the path."""
    run, _, _ = drawn
    code = [c for c in json.loads((run / "report.ipynb").read_text())["cells"] if c["cell_type"] == "code"]
    asked = "import sys; sys.path.insert(0, ''); {}\nimport matplotlib, numpy; print(matplotlib.__version__)"
    guarded, bare = (
        subprocess.run([sys.executable, "-P", "-c", asked.format(first)], cwd=run, capture_output=True, text=True)
        for first in ("exec(" + repr("".join(code[0]["source"])) + ")", "")
    )
    assert guarded.returncode == 0 and guarded.stdout.strip()
    assert "shadowed" in bare.stderr or "FileExistsError" in bare.stderr
    (run.parents[2] / "PWNED").rmdir()


def test_what_is_handed_in_is_the_run_and_what_was_drawn_of_it_and_nothing_beside_it(drawn, tmp_path):
    run, _, _ = drawn
    (run / "figures" / "older.png").symlink_to(run / "run.json")
    packed = report.handin(run, ["heatmaps.png", "older.png"])
    assert packed.parent == run
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    (folder,) = {name.split("/")[0] for name in names}
    beside = {"run.json", "report.html", "report.ipynb", "figures/heatmaps.png"}
    assert beside == {n.split("/", 1)[1] for n in names if not n.endswith(".parquet")}
    ours, theirs = report.open_run(run), report.open_run(tmp_path / folder)
    assert ours.rows.equals(theirs.rows) and ours.cells.equals(theirs.cells) and ours.students.equals(theirs.students)


@pytest.mark.parametrize("status", ["interrupted", "done"])
def test_a_run_that_is_not_done_is_not_packed_in_silence(made_up_run, tmp_path, capsys, monkeypatch, status):
    run = made_up_run(tmp_path, accuracy, reached=lambda *cell: cell[-1] < 2, status=status)

    def draw(*_):
        print("drawing", file=sys.stderr)
        raise OSError("enough")

    monkeypatch.setattr(report, "render", draw)
    assert report.main("mnistm_kd", PAGE, [run.name, "--root", str(tmp_path), "--zip"]) == 2
    *before, drawing, _ = capsys.readouterr().err.splitlines()
    rows = records.read(run)
    done, asked = rows.loc[rows["status"] == "done", "student"].nunique(), records.info(run)["students"]
    resume = f"{interpreter()} studies/mnistm_kd.py --resume made-up --storage {tmp_path}"
    said = f"NOT DONE  the run made-up (interrupted): {done} of {asked} students have results; to go on: {resume}"
    assert drawing == "drawing" and 0 < done < asked and before == [said] * (status != "done")


def test_names_of_files_are_safe_and_differ():
    words = [
        "/../../x",
        "_.._.._x",
        "..",
        "a/b",
        "a_b",
        "a\\b",
        "Лампы",
        "лампы",
        "x" * 300,
        "x" * 299,
        "CON:",
        "\0",
        "\ud800",
    ]
    names = [records.file_name(f"surface_{word}") for word in words] + [records.file_name(word) for word in words]
    assert len({*names}) == len(names) and all(
        re.fullmatch(r"[A-Za-z0-9_+=-][A-Za-z0-9_.+=-]{0,140}", name) for name in names
    )
    assert records.file_name("surfaces_mnist_mlp_300_1.0_0.6") == "surfaces_mnist_mlp_300_1.0_0.6"
    assert records.file_name("ends unfreezing, lr 0.1") == "ends_unfreezing__lr_0.1"


def test_figures_that_lie_elsewhere_are_refused_in_one_line(tmp_path, made_up_run, capsys):
    run = made_up_run(tmp_path / "results", accuracy)
    (tmp_path / "elsewhere").mkdir()
    (run / "figures").symlink_to(tmp_path / "elsewhere")
    assert report.main("mnistm_kd", PAGE, [str(run)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"{run / 'figures'} is a link" in told
    assert not list((tmp_path / "elsewhere").iterdir()) and not (run / "report.ipynb").exists()


def test_a_page_writes_nothing_into_a_run_of_another_study(tmp_path, made_up_run, capsys):
    run = made_up_run(tmp_path / "results", accuracy)
    (run / "report.ipynb").write_text("its own")
    assert report.main("mnist_kd", PAGE.with_name("mnist_kd.py"), [str(run)]) == 2
    assert capsys.readouterr().err == f"mnist_kd: {run} is a run of mnistm_kd: python analysis/mnistm_kd.py {run}\n"
    assert (run / "report.ipynb").read_text() == "its own" and not (run / "figures").exists()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    report.put(tmp_path / "a", b"first")
    with pytest.raises(TypeError):
        report.put(tmp_path / "a", "no bytes")
    assert (tmp_path / "a").read_bytes() == b"first" and [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("sentence", "html"),
    [
        ("**Strong**: `--resume x_1` goes on", "<strong>Strong</strong>: <code>--resume x_1</code> goes on"),
        ("<b> [a](b) ![c](d) *e* _f_ ~~g~~ $h$ & \\", "&lt;b&gt; [a](b) ![c](d) *e* _f_ ~~g~~ $h$ &amp; \\"),
        ("`<i>` and `` <u> \\`<s>`", "<code>&lt;i&gt;</code> and <code>` &lt;u&gt; \\</code>&lt;s&gt;`"),
        ("http://a.b\n\n# no heading", "http://a.b # no heading"),
    ],
)
def test_a_sentence_is_markdown_that_means_itself(sentence, html):
    from nbconvert.filters import markdown2html

    assert re.sub(r"\s+", " ", markdown2html(report._bullets([sentence]))).strip() == f"<ul> <li>{html}</li> </ul>"


def test_only_one_place_makes_axes_logarithmic():
    """For matplotlib's own names of their ticks are mathematics, and a page has none."""
    pages = [
        path for path in (ROOT / "analysis").rglob("*.py") if re.search(r"[\"'](sym)?log[\"'](?!:)", path.read_text())
    ]
    assert [path.name for path in pages] == ["scales.py"]
    colored = [path.read_text() for path in (ROOT / "analysis").rglob("*.py") if "LogNorm" in path.read_text()]
    assert all('format="{x:g}"' in text for text in colored)


@pytest.fixture
def browser(tmp_path):
    found = Browser(tmp_path / "profile")
    yield found
    found.close()


@pytest.mark.faults
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_in_a_browser_a_surface_turns_and_no_script_of_a_stranger_runs(drawn, browser):
    run, _, _ = drawn
    files = [run / "report.html", *sorted((run / "figures").glob("*.html"))[:1]]
    assert len(files) == 2
    for file in files:
        browser.open(file.as_uri())
        title = browser.value("document.title")
        assert title and title != "PWNED"
        browser.value("document.querySelector('details.turn:not([open]) summary')?.click()")
        browser.until("!!document.querySelector('.js-plotly-plot')?._fullLayout?.scene?._scene?.glplot")
        browser.value("document.querySelector('details.turn').scrollIntoView()")
        canvas = "document.querySelector('.gl-container canvas').getBoundingClientRect()"  # its lower part, free of the legend
        box = browser.value(f"(r => [r.x + r.width / 2, r.y + 0.85 * r.height])({canvas})")
        eye = "JSON.stringify(document.querySelector('.js-plotly-plot')._fullLayout.scene._scene.getCamera().eye)"
        before = browser.value(eye)
        for _ in range(20):  # a machine that draws slowly may miss a drag
            browser.drag(*box)
            if browser.value(eye) != before:
                break
        assert browser.value(eye) != before
        assert browser.value("document.title") == title and browser.refused() == ([], [])
        # even if a text were not escaped
        browser.value(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(SCRIPT)})")
        browser.value(
            "(s => { s.textContent = \"document.title = 'PWNED'\"; document.body.append(s) })(document.createElement('script'))"
        )
        browser.value(
            "document.body.insertAdjacentHTML('beforeend', '<a id=link href=\"javascript:document.title=`PWNED`\">x</a>'); document.querySelector('#link').click()"
        )
        assert browser.value("fetch('https://example.org').then(() => 'sent', () => 'refused')") == "refused"
        time.sleep(0.5)
        assert browser.value("document.title") == title and len(browser.refused()[0]) >= 3


def test_a_figure_of_a_part_names_its_own_data_and_counts_its_own_seeds(tmp_path, made_up_run):
    run = report.open_run(made_up_run(tmp_path, accuracy))
    two = run.students[run.students["seed"] < 2]
    part = run.about("Judgements of mine.csv", two)
    assert "MADE UP" in run.subtitle and "n = 3 seeds" in run.subtitle
    assert "Judgements of mine.csv\nn = 2 seeds, preset smoke" in part.subtitle and "MADE UP" not in part.subtitle
    assert part.axes == run.axes and "n = 3 seeds" in run.about("else", two[:0]).subtitle


def test_a_long_title_breaks_between_data_sets_then_at_a_colon(tmp_path, made_up_run):
    run = report.open_run(made_up_run(tmp_path, accuracy))
    head, counts = "Own images (photos_ok), 3 classes (leaf, mug, old key):", "83 train / 21 validation / 16 test images;"
    lines = run.about(f"{head} {counts} test: a third of train/, held out by file content").subtitle.splitlines()
    assert lines[:3] == [head, counts, "test: a third of train/, held out by file content"]
    assert run.about("word " * 20).subtitle.startswith("word " * 16 + "word\nword word word\n")


def test_headings_and_notes_break_where_the_narrowest_figure_ends(tmp_path, made_up_run):
    run = report.open_run(made_up_run(tmp_path, accuracy))
    key = "framed: chosen on validation for this method; thin: as good; dashed: open (seeds cannot tell);"
    assert run.title(f"Errors\n{key} no frame: worse").splitlines()[:3] == ["Errors", key, "no frame: worse"]
    assert run.title("Errors", "short").splitlines() == ["Errors", *run.subtitle.splitlines(), "short"]


def test_the_course_of_the_training_shows_the_best_of_all_students_whoever_is_left_out(tmp_path, made_up_run, monkeypatch):
    best = ("source", "500", 4.0, 0.5, 1)
    path = made_up_run(tmp_path, lambda *cell: 0.9 if cell == best else None if cell[4] == 2 else 0.5)
    monkeypatch.setattr(report, "COURSES", 4)
    figures, run = [], report.open_run(path)
    chosen_on = {"metric": "val_accuracy", "mode": "max"}
    replace(run, info={**run.info, **chosen_on}, sink=lambda figure, name: figures.append(figure))._trained()
    for ax, end in zip(figures[0].axes, (0.1, 90), strict=True):
        drawn = {line.get_color(): line.get_ydata()[-1] for line in ax.lines}
        assert drawn["tab:orange"] == pytest.approx(end) and 2 <= len(ax.lines) <= 5


def test_prose_about_what_was_not_asked_is_left_out_and_says_how_to_ask(tmp_path):
    page = tmp_path / "page.py"
    tagged = [
        '# %% [markdown] tags=["task=labels"]\n# # 2. Labels\n# much is said',
        '# %% [markdown] tags=["task=labels"]\n# ## Of it',
        '# %% tags=["task=labels"]\nfound = 1',
        '# %% [markdown] tags=["task=metrics"]\n# ## Metrics',
        '# %% tags=["task=metrics"]\nother = 1',
    ]
    page.write_text("\n\n".join(["# %% [markdown]\n# # Page", "# %%\nprint(1)", *tagged]) + "\n")
    notebook = jupytext.read(page, fmt="py:percent")
    report._only_asked(notebook, {"task": ["metrics"]})
    sources = [cell.source for cell in notebook.cells]
    assert sources == [
        *("# Page", "print(1)", "# 2. Labels\n\nNot asked for in this run: `--task labels`.", "found = 1"),
        *("## Metrics", "other = 1"),
    ]
    seen = [cell.source for cell in report._without_empty_sections(notebook).cells]
    assert "found = 1" not in seen and sources[2] in seen
    whole = jupytext.read(page, fmt="py:percent")
    report._only_asked(whole, {"task": ["metrics", "labels"]})
    report._only_asked(whole, {"lr": [0.1]})  # of a run without that axis nothing is known
    assert len(whole.cells) == 7 and "much is said" in whole.cells[2].source


def test_where_no_kernel_begins_the_executed_notebook_stays(drawn, monkeypatch):
    from nbclient import NotebookClient

    def die(*args, **kwargs):
        raise RuntimeError("Kernel died before replying to kernel_info\nmore")

    run, _, _ = drawn
    before = (run / "report.ipynb").read_bytes()
    monkeypatch.setattr(NotebookClient, "execute", die)
    assert report.render(PAGE, run)[1] == "Kernel died before replying to kernel_info"
    assert (run / "report.ipynb").read_bytes() == before
