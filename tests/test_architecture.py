"""Who may import whom, and that every study has what belongs to it (the design's rules, read off the tree)."""

import ast
import importlib.util
import itertools
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from studies.harness.plan import cells_of

ROOT = Path(__file__).parents[1]
STUDIES = sorted(p.stem for p in (ROOT / "studies").glob("*.py") if p.stem != "__init__")


def imports(path):
    """Dotted names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(folder, forbidden, pattern="**/*.py"):
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / folder).glob(pattern))
        for name in imports(path)
        if forbidden(path, name)
    ]


def top(name):
    return name.split(".")[0]


def test_analysis_runs_on_a_laptop_with_the_parquet_files_alone():
    assert not offences("analysis", lambda p, n: top(n) in {"torch", "torchvision", "ray", "studies", "trainables"})


def test_pages_import_matplotlib_after_ours_which_keeps_the_settings_of_users_from_it():
    for page in (ROOT / "analysis").glob("*.py"):
        tops = [top(name) for name in imports(page)]
        assert "matplotlib" not in tops[: tops.index("analysis") if "analysis" in tops else None], page.name


def test_trainables_know_neither_ray_nor_results():
    assert not offences("trainables", lambda p, n: top(n) in {"ray", "pandas", "argparse", "studies", "analysis"})


def test_trainables_do_not_import_each_other():
    """A trainable that is a package of several modules imports, beside core, itself."""

    def others(path, name):
        own = f"trainables.{path.relative_to(ROOT / 'trainables').parts[0].removesuffix('.py')}"
        return (
            top(name) == "trainables"
            and not f"{name}.".startswith(("trainables.core.", f"{own}."))
            and name != "trainables"
        )

    assert not offences("trainables", others)
    assert not offences("trainables/core", lambda p, n: top(n) == "trainables" and not n.startswith("trainables.core"))


def test_studies_are_declarations():
    allowed = ("studies.harness", "trainables", "analysis.core.records")
    own = {"studies", "trainables", "analysis"}
    assert not offences("studies", lambda p, n: top(n) in own and not n.startswith(allowed), "*.py")
    for name in STUDIES:
        assert max(map(len, (ROOT / "studies" / f"{name}.py").read_text().splitlines())) <= 120


def test_only_the_harness_imports_ray():
    for folder in ("studies", "trainables", "analysis"):
        found = offences(folder, lambda p, n: top(n) == "ray" and "harness" not in p.parts)
        assert not found


def test_nobody_imports_a_study():
    names = {f"studies.{name}" for name in STUDIES}
    for folder in ("studies", "trainables", "analysis"):
        assert not offences(folder, lambda p, n: n in names)


OWN = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("studies", "trainables", "analysis")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def test_nothing_imports_what_stands_above_it():
    """Imports inside functions and for type checkers count; that Python runs a package's __init__ before its modules does
    not, and no module of a package asks for the names that its __init__ shows to others."""
    graph = {name: set(modules(path)) & set(OWN) for name, path in OWN.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def modules(path):
    """The modules that a file imports, or imports names from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not followed"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in OWN else node.module


def test_there_is_no_drawer_for_odds_and_ends():
    for name in ("utils", "common", "helpers"):
        assert not [p for p in ROOT.glob(f"[!.]*/**/{name}.py") if ".venv" not in p.parts]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_its_page_its_cards_its_row_and_its_figure(name):
    assert (ROOT / "analysis" / f"{name}.py").exists()
    assert f"studies/{name}.py" in (ROOT / "README.md").read_text()
    pictures = re.findall(rf"\]\(({name}_\w+\.png)\)", (ROOT / "docs" / "gallery.md").read_text())
    assert len(pictures) == 1 and (ROOT / "docs" / pictures[0]).exists()
    assert f"../studies/{name}.py" in (ROOT / "docs" / "teaching.md").read_text()
    for language in ("en", "ru"):
        card = (ROOT / "problems" / f"{name}.{language}.md").read_text()
        assert card.count("\n## ") == 8, (
            "title, then problem, data, reference, baseline, solution, novelty, result, authors"
        )


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_of_every_preset_is_one_that_the_trainable_takes(name):
    study = importlib.import_module(f"studies.{name}").STUDY
    config = study.load().config_type
    for preset, data in itertools.product(study.presets, ("sample", "full")):
        for grid in study.grids(preset, data, {}):
            for cell in cells_of(study, grid):
                config(**study.canonical(cell.config))


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_does_not_shadow_a_module(name):
    """`python studies/x.py` puts studies/ first on sys.path."""
    assert name not in sys.stdlib_module_names
    found = importlib.util.find_spec(name)
    assert found is None or Path(found.origin or "").is_relative_to(ROOT)


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    cells = [cell for line in lines if line.startswith("|") for cell in line.strip("|").split("|")]
    long = [cell for cell in cells if len(re.sub(r"\]\([^)]*\)", "]", cell).split()) > 15]
    assert not long


def test_no_picture_is_left_that_no_page_shows():
    pages = (ROOT / "README.md").read_text() + "".join(p.read_text() for p in (ROOT / "docs").glob("*.md"))
    assert not [p.name for p in (ROOT / "docs").glob("*.png") if f"{p.name})" not in pages]


DOCS = [f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md", "CONTRIBUTING.md", *DOCS])
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    targets = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    assert {link for link in targets if not ((ROOT / page).parent / link).exists()} == set()
