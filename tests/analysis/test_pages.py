"""What every page is: prose, calls, a sentence. Read off the files of all studies in the registry."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDIES = sorted(p.stem for p in (ROOT / "studies").glob("*.py") if p.stem != "__init__")
PAGES = {name: (ROOT / "analysis" / f"{name}.py").read_text() for name in STUDIES}
LONGEST = 40  # lines of a cell


def cells(text):
    """The code cells of a page, without blank lines at their ends."""
    parts = [part for part in text.split("\n# %%") if part.strip()]
    return [part.strip() for part in parts if not part.lstrip("# %").startswith("[markdown]")]


def bound(nodes):
    """Names that statements of a module bind, loops and conditions included, as often as they do."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        else:
            targets = [t for field in ("target", "targets", "optional_vars") for t in _list(getattr(node, field, []))]
            targets += [item.optional_vars for item in getattr(node, "items", []) if item.optional_vars]
            yield from (
                n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            )
            for field in ("body", "orelse", "finalbody"):
                yield from bound(_list(getattr(node, field, [])))


def _list(value):
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_is_short_cells_without_classes(name):
    assert not [n.name for n in ast.walk(ast.parse(PAGES[name])) if isinstance(n, ast.ClassDef)]
    long = {
        cell.splitlines()[1]: len(cell.splitlines()) for cell in cells(PAGES[name]) if len(cell.splitlines()) > LONGEST
    }
    assert not long


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_binds_each_name_once(name):
    twice = {n for n, count in Counter(bound(ast.parse(PAGES[name]).body)).items() if count > 1}
    assert not twice


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_leaves_the_run_as_it_is_and_reads_no_p_value(name):
    tree = ast.parse(PAGES[name])
    targets = [
        t
        for n in ast.walk(tree)
        if isinstance(n, ast.Assign | ast.AugAssign)
        for t in _list(getattr(n, "targets", getattr(n, "target", [])))
    ]
    roots = {
        ast.unparse(t)
        for t in targets
        if isinstance(t, ast.Subscript | ast.Attribute) and ast.unparse(t).startswith("run.")
    }
    assert not roots
    assert not [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in ("p", "pvalue")]
    assert not {"holm", "scores"} & {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}


def test_the_pages_are_those_of_the_studies():
    assert {p.stem for p in (ROOT / "analysis").glob("*.py")} - {"__init__", "board", "compare"} == set(STUDIES)
