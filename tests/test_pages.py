"""What README and docs name is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data/README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not link.startswith(("http", "mailto")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_and_commands_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(r"`((?:mfnet|pipeline|tests|benchmarks|docs)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
    for module in re.findall(r"python -m ((?:mfnet|pipeline)[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or path.is_dir(), f"{page.name} names {module}"
    for script in re.findall(r"python (benchmarks/\w+\.py)", text):
        assert (ROOT / script).is_file(), f"{page.name} names {script}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_nothing_is_left_to_be_filled_in(page: Path) -> None:
    assert not re.findall(
        r"\b[A-Z]+_(?:TIME|TABLE)\b|\b[A-Z]+_[A-Z0-9_]*\b \||^[A-Z]{4,}$|TODO|TBD", page.read_text(), re.MULTILINE
    ), page.name


def test_every_equation_has_its_function_and_its_test() -> None:
    rows = re.findall(
        r"^\| (\d+) \|.*\| `(\S+)` `(\w+)` \| `(\S+)` `(\w+)` \|$", (ROOT / "docs/equations.md").read_text(), re.M
    )
    assert [int(row[0]) for row in rows] == list(range(1, 12))
    for _, source, function, tested_in, test in rows:
        for path, name in ((source, function), (tested_in, test)):
            tree = ast.parse((ROOT / path).read_text())
            named = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
            assert name in named, f"{path} has no {name}"


def test_the_readme_leads_to_the_equations_and_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        others = readme + "".join(other.read_text() for other in (ROOT / "docs").glob("*.md") if other != page)
        assert page.name in others, f"no page leads to {page.name}"
    assert "docs/equations.md" in readme
