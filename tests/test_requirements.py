"""What pyproject.toml asks for, beside what requirements.lock installs, and what a stage imports of it."""

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def test_what_is_locked_is_what_is_asked_for() -> None:
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines()]
    locked = [Requirement(line) for line in lines if line]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, asked):
        versions = [one.specifier for one in locked if one.name.lower() == requirement.name.lower()]
        assert versions, f"{requirement.name} is not locked"
        for pinned in versions:
            (exact,) = pinned
            assert requirement.specifier.contains(exact.version), f"{requirement} is locked as {exact.version}"


def test_no_stage_waits_for_torchs_compiler() -> None:
    """To import it takes as long as all the rest, and twenty processes of a run would."""
    stages = [f"pipeline.stages.{path.stem}" for path in (ROOT / "pipeline/stages").glob("[a-z]*.py")]
    assert len(stages) > 8
    code = f"import sys, {', '.join(stages)}; print('torch' in sys.modules, 'torch._dynamo' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "False"]
