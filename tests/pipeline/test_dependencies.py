"""What each stage of dvc.yaml says it is made of, beside what its script imports."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# What they say is in the parameters, or is about how a run is reported and not about what it gives.
NEUTRAL = {"mfnet/config.py", "mfnet/errors.py", "mfnet/loss_terms.py", "mfnet/parallel.py", "mfnet/settings.py",
           "pipeline/outputs.py", "pipeline/registry/logged.py", "pipeline/tracking.py",
           "pipeline/unsent.py"}  # fmt: skip


def file_of(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    candidates = [path.with_suffix(".py"), path / "__init__.py"]
    return next((one for one in candidates if one.is_file()), None)


def type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def imports_in(body: list[ast.stmt]) -> set[tuple[str, str]]:
    """(module, name) of everything of this project that is imported in some statements, but for types alone."""
    taken = set()
    for statement in body:
        if type_checking(statement):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("mfnet", "pipeline"):
                taken |= {(node.module, alias.name) for alias in node.names}
    return taken


def targets(module: str, name: str) -> set[tuple[str, str]]:
    """Where a name that is imported from a module comes from: a module of a package, or what the package passes on."""
    if file_of(f"{module}.{name}"):
        return {(f"{module}.{name}", "")}
    path = file_of(module)
    if path is not None and path.name == "__init__.py":
        passed_on = {(one, other) for one, other in imports_in(ast.parse(path.read_text()).body) if other == name}
        if passed_on:
            return set().union(*(targets(*one) for one in passed_on))
    return {(module, name)}


@cache
def files_behind(module: str, name: str) -> frozenset[Path]:
    """Every file that a module is made of; of `mfnet.settings` only what the named function opens."""
    return frozenset(_walk(module, name, set()))


def _walk(module: str, name: str, visited: set[tuple[str, str]]) -> set[Path]:
    path = file_of(module)
    key = (module, name if module == "mfnet.settings" else "")
    if path is None or key in visited:
        return set()
    visited.add(key)
    if path.relative_to(ROOT).as_posix() in NEUTRAL and module.startswith("pipeline."):
        # What it needs to report with makes no output either.
        return {path}
    body = ast.parse(path.read_text()).body
    if module == "mfnet.settings":
        body = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    files = {path}
    for imported in imports_in(body):
        for target in targets(*imported):
            files |= _walk(*target, visited)
    return files


def script_of(stage: dict) -> str:  # type: ignore[type-arg]
    """The module that a stage's command runs."""
    return stage["cmd"].split()[2]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_all_that_its_script_imports(name: str) -> None:
    stage = STAGES[name]
    named = [dependency for dependency in stage["deps"] if dependency.startswith(("mfnet", "pipeline"))]
    for dependency in named:
        assert (ROOT / dependency).exists(), f"{name} depends on {dependency}, which is not there"
    for path in files_behind(script_of(stage), ""):
        relative = str(path.relative_to(ROOT))
        if path.name == "__init__.py" or relative in NEUTRAL:
            continue
        covered = any(relative == one or relative.startswith(one.rstrip("/") + "/") for one in named)
        assert covered, f"{name} does not depend on {relative}, which {script_of(stage)} imports"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_no_code_that_its_script_does_not_import(name: str) -> None:
    stage = STAGES[name]
    behind = {str(path.relative_to(ROOT)) for path in files_behind(script_of(stage), "")}
    for dependency in stage["deps"]:
        if dependency.startswith(("mfnet", "pipeline")):
            used = any(one == dependency or one.startswith(dependency + "/") for one in behind)
            # The two trainings share a list.
            used = used or dependency in ("pipeline/stages/train.py", "pipeline/stages/ablation.py")
            assert used, f"{name} depends on {dependency}, of which {script_of(stage)} imports nothing"


def test_dvc_yaml_stays_short() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 220
