"""What pyproject.toml asks for, beside what requirements.lock installs, and what a stage imports of it."""

import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def locked_requirements() -> list[Requirement]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


def test_what_is_locked_is_what_is_asked_for() -> None:
    locked = locked_requirements()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, asked):
        versions = [one.specifier for one in locked if one.name.lower() == requirement.name.lower()]
        assert versions, f"{requirement.name} is not locked"
        for pinned in versions:
            (exact,) = pinned
            assert requirement.specifier.contains(exact.version), f"{requirement} is locked as {exact.version}"


def test_the_locked_packages_fit_each_other() -> None:
    """Otherwise nobody can install them, though they work where one was installed by hand."""
    locked = {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one in locked_requirements()
        if one.marker is None or one.marker.evaluate()
    }
    compared = 0
    for package in distributions():
        name = canonicalize_name(package.name)
        if locked.get(name) != package.version:
            continue  # what another version needs says nothing
        for need in map(Requirement, package.requires or []):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                version = locked.get(canonicalize_name(need.name))
                assert version is not None, f"{name} needs {need}, which is not locked"
                assert need.specifier.contains(version, prereleases=True), f"{name} needs {need}, locked is {version}"
                compared += 1
    assert compared > 100


def test_no_stage_waits_for_torchs_compiler() -> None:
    """To import it takes as long as all the rest, and twenty processes of a run would."""
    stages = [f"pipeline.stages.{path.stem}" for path in (ROOT / "pipeline/stages").glob("[a-z]*.py")]
    assert len(stages) > 8
    code = f"import sys, {', '.join(stages)}; print('torch' in sys.modules, 'torch._dynamo' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "False"]
