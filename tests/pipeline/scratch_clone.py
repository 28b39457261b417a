"""A clone of the working tree in which the pipeline is small enough to be run by a test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SMALLEST = {
    "synthesize": {"multipie_subjects": 4, "recordings": 1, "illuminations": [7], "wild_per_bin": 1, "lab_subjects": 1,
                   "aflw2000_per_bin": 1},
    "data": {"triplets": 16},
    "ablation": {"variants": ["full", "no_eye"]},
    "train": {"steps": 4, "batch": 4, "multiop_pairs": 1, "multiop_after": 0.5,
              "log_every": 1, "picture_every": 4, "checkpoint_every": 4},
    "evaluate": {"lab_views": [0], "heat_meshes": 1},
    # To start further processes takes longer than what there is to do.
    "engine": {"workers": 1},
}  # fmt: skip


class Clone:
    """A scratch clone with its own git history and DVC cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_working_tree(cls, folder: Path) -> Clone:
        """What git would track of the working tree, committed, with parameters of the smallest size."""
        tracked = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        names = [name for name in tracked.stdout.splitlines() if (ROOT / name).is_file() and name != "dvc.lock"]
        # Kernels that are compiled already need not be compiled again: numba keeps them beside their sources.
        kernels = [str(path.relative_to(ROOT)) for path in (ROOT / "mfnet").rglob("__pycache__/*.nb?")]
        for name in names + kernels:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        clone = cls(folder)
        clone.change(SMALLEST)
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        clone.commit("Begin")
        return clone

    def commit(self, subject: str) -> None:
        """Commit all that git would track."""
        author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        for command in (["add", "-A"], [*author, "commit", "-qm", subject]):
            subprocess.run(["git", *command], cwd=self.folder, check=True)

    def copy(self, folder: Path) -> Clone:
        """The same again, with what has been made in it, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Clone(folder)

    def change(self, sections: dict) -> None:  # type: ignore[type-arg]
        path = self.folder / "params.yaml"
        content = yaml.safe_load(path.read_text())
        for section, values in sections.items():
            content[section] = content[section] | values if isinstance(values, dict) else values
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def outputs(self) -> dict[str, list]:  # type: ignore[type-arg]
        """Stage -> its outputs with their hashes, from dvc.lock."""
        stages = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]
        return {name: stage.get("outs", []) for name, stage in stages.items()}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        # Once numba has started its threads torch has as many, and rounds as these do.
        environment |= {"PATH": path, "COLUMNS": "120", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
                        "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@localhost",
                        "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@localhost"}  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


def mlflow_runs(folder: Path) -> list[dict]:  # type: ignore[type-arg]
    """Name, id, status, tags, parameters and last metrics of every run in a folder's store."""
    code = (
        "import json; from mlflow.tracking import MlflowClient; c = MlflowClient('sqlite:///mlflow.db');"
        "e = c.get_experiment_by_name('mfnet').experiment_id;"
        "print(json.dumps([{'name': r.info.run_name, 'id': r.info.run_id, 'status': r.info.status,"
        " 'artifacts': r.info.artifact_uri, 'tags': dict(r.data.tags), 'params': r.data.params,"
        " 'metrics': r.data.metrics} for r in c.search_runs([e])]))"
    )
    asked = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(asked.stdout.splitlines()[-1])


def ran(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Names of the stages that a dvc call ran."""
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
