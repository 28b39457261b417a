"""What pyproject.toml asks for, beside what requirements.lock installs."""

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
