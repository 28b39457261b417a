"""The whole pipeline at its smallest size, in a scratch clone of the working tree, by its own commands."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mfnet import cli
from pipeline.stage import main

ROOT = Path(__file__).parents[2]
SMALLEST = {
    "synthesize": {"multipie_subjects": 4, "recordings": 1, "illuminations": [7], "wild_per_bin": 1, "lab_subjects": 1},
    "data": {"triplets": 16},
    "train": {"variants": ["full", "no_eye"], "steps": 4, "batch": 4, "multiop_pairs": 1, "multiop_after": 0.5,
              "log_every": 1, "picture_every": 4, "checkpoint_every": 4},
    "evaluate": {"lab_views": [0, 1], "heat_meshes": 1},
}  # fmt: skip


class Clone:
    """A scratch clone with its own git history and DVC cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tracked = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in tracked.stdout.splitlines():
            if (ROOT / name).is_file() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        # Kernels that are compiled already need not be compiled again: numba keeps them beside their sources.
        for kernel in (ROOT / "mfnet").rglob("__pycache__/*.nb?"):
            target = folder / kernel.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(kernel, target)
        self.change(SMALLEST)
        for command in (
            ["git", "init", "-q"],
            ["git", "add", "-A"],
            ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "Begin"],
        ):
            subprocess.run(command, cwd=folder, check=True)

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
        environment |= {"PATH": path, "OMP_NUM_THREADS": "1",
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


def ran(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Names of the stages that a dvc call ran."""
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("clone"))
    done = clone.run("dvc", "repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return clone


pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


def test_reports_are_made(clone: Clone) -> None:
    metrics = json.loads((clone.folder / "reports/metrics.json").read_text())
    assert list(metrics) == ["full", "no_eye", "baselines"]
    assert metrics["full"]["wild"]["60-90"]["n"] == 1
    assert set(metrics["full"]["lab"]) == {"three_view", "single_view"}
    assert metrics["baselines"]["mean_head"]["lab"]["single_view"]["cd_mm"] > 0
    assert set(metrics["baselines"]["landmark_fit"]["lab"]) == {"three_view", "single_view"}
    assert set(pd.read_csv(clone.folder / "reports/tables/differences.csv")["method"]) == {
        "no_eye", "mean_head", "landmark_fit"}  # fmt: skip
    page = (clone.folder / "reports/index.html").read_text()
    assert page.count("data:image/png;base64") == 7
    assert "src='http" not in page
    for table in (1, 2, 3):
        assert "published" in (clone.folder / f"reports/tables/{table}.md").read_text()
        assert len(pd.read_csv(clone.folder / f"reports/tables/{table}.csv")) > 5


def test_every_stage_is_a_run_nested_under_the_pipelines(clone: Clone) -> None:
    code = (
        "import mlflow, json; from mlflow.tracking import MlflowClient as C;"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db'); c = C(); e = c.get_experiment_by_name('mfnet').experiment_id;"
        "print(json.dumps([dict(r.data.tags, name=r.info.run_name, id=r.info.run_id, status=r.info.status,"
        " params=r.data.params, metrics=r.data.metrics) for r in c.search_runs([e])]))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=clone.folder, capture_output=True, text=True, check=True)
    runs = json.loads(found.stdout.splitlines()[-1])
    by_name = {run["name"]: run for run in runs}
    assert {run["status"] for run in runs} == {"FINISHED"}
    stages = {"synthesize", "index", "preprocess", "flow", "train@full", "train@no_eye", "evaluate@full",
              "evaluate@no_eye", "evaluate@mean_head", "evaluate@landmark_fit", "report"}  # fmt: skip
    assert stages | {"pipeline"} == set(by_name)
    parent = by_name["pipeline"]["id"]
    assert all(by_name[name]["mlflow.parentRunId"] == parent for name in stages)
    trained = by_name["train@no_eye"]
    assert trained["params"]["loss.eye"] == "0.0"
    assert "loss_singlelmk" in trained["metrics"]
    assert trained["input.data/faces"].endswith(".dir")
    assert len(trained["git_commit"]) == 40


def test_nothing_runs_twice(clone: Clone) -> None:
    done = clone.run("dvc", "repro")
    assert done.returncode == 0
    assert ran(done) == []


def test_changing_a_loss_reruns_training_and_what_follows(clone: Clone) -> None:
    done = clone.run("dvc", "exp", "run", "-S", "loss.eye=0")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    # no_eye trains to the same bytes as before, so it is not scored again.
    stages = [name.split("@")[0] for name in ran(done)]
    assert set(stages) == {"train", "evaluate", "report"}
    assert stages.count("train") == 2
    clone.run("dvc", "exp", "remove", "-A")
    subprocess.run(["git", "checkout", "-q", "."], cwd=clone.folder, check=True)


def test_changing_the_image_size_reruns_preprocess_and_not_what_comes_before(clone: Clone) -> None:
    before = (clone.folder / "params.yaml").read_text()
    clone.change({"data": {"image_size": 136}})
    done = clone.run("dvc", "repro", "flow")
    (clone.folder / "params.yaml").write_text(before)
    assert ran(done) == ["preprocess", "flow"]
    changed = set(json.loads(clone.run("dvc", "status", "--json").stdout))
    assert {"train@full", "train@no_eye", "evaluate@full", "report"} & changed >= {"train@full", "train@no_eye"}


def test_other_photographs_are_noticed_and_the_same_seed_gives_the_first_ones_again(clone: Clone) -> None:
    """Photographs and scores to the byte; that training repeats itself too, the test of the losses shows."""
    first = clone.outputs()
    before = (clone.folder / "params.yaml").read_text()
    clone.change({"synthesize": {"relief_mm": 0.9}})
    done = clone.run("dvc", "repro", "preprocess")
    (clone.folder / "params.yaml").write_text(before)
    assert ran(done) == ["synthesize", "index", "preprocess"]
    assert clone.outputs()["synthesize"] != first["synthesize"]
    done = clone.run("dvc", "repro", "--force", "--single-item", "synthesize", "evaluate@full")
    assert ran(done) == ["synthesize", "evaluate@full"]
    again = clone.outputs()
    assert again["synthesize"] == first["synthesize"]
    assert again["evaluate@full"] == first["evaluate@full"]


@pytest.mark.parametrize(
    ("command", "sections", "message"),
    [
        ("index", {"loss": {"eyes": 1}}, "loss.eyes: unknown key"),
        ("index", {"train": {"steps": 0}}, "train.steps: "),
        ("index", {"data": {"multipie": "nowhere"}}, "data.multipie: no folder nowhere"),
        ("evaluate mean_head", {"data": {"facescape": "nowhere"}}, "data.facescape: nowhere has no folder data/"),
        ("flow", {"flow": {"estimator": "raft"}}, "flow.estimator: 'raft' is neither"),
        ("evaluate no_lip", {}, "models/no_lip/config.json is missing"),
    ],
)
def test_what_is_wrong_outside_ends_in_one_line(
    clone: Clone,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    sections: dict,
    message: str,  # type: ignore[type-arg]
) -> None:
    before = (clone.folder / "params.yaml").read_text()
    outputs = _outputs(clone.folder)
    clone.change(sections)
    monkeypatch.chdir(clone.folder)
    stage, *arguments = command.split()
    monkeypatch.setattr(sys, "argv", [stage, *arguments])
    with pytest.raises(SystemExit) as stopped:
        main(importlib.import_module(f"pipeline.{stage}").stage)
    (clone.folder / "params.yaml").write_text(before)
    assert str(stopped.value).startswith("error: ")
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert _outputs(clone.folder) == outputs


def test_a_stage_that_fails_stops_dvc_with_one_line_and_without_a_traceback(clone: Clone) -> None:
    before = (clone.folder / "params.yaml").read_text()
    clone.change({"data": {"multipie": "data/raw/facescape"}})
    done = clone.run("pipeline.index")
    (clone.folder / "params.yaml").write_text(before)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error: data.multipie: ")]
    assert "Traceback" not in done.stderr


def _outputs(folder: Path) -> dict[Path, int]:
    """Everything that a later stage could read, with its time; what is half-made is named as such."""
    found = [path for name in ("data", "models", "reports") for path in (folder / name).rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in found if not any(".partial" in part for part in path.parts)}


def test_prefect_flow_looks_for_photographs_and_nests_its_stages(clone: Clone) -> None:
    done = clone.run("pipeline.flows", "index")
    assert done.returncode == 0, done.stderr[-3000:]
    assert ran(done) == ["index"]
    assert "mfnet-retrain" in done.stderr + done.stdout


def test_command_line_reconstructs_and_scores_a_trained_model(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clone.folder)
    root = Path("data/raw/multipie/session01/multiview/001/01")
    photographs = [str(next((root / camera).glob("*.png"))) for camera in ("05_1", "13_0", "04_1")]
    given = ["--landmarks", "data/raw/multipie/landmarks.parquet"]
    shapes = []
    for name, extra in (("network", []), ("fit", ["--fit"])):
        cli.main(["reconstruct", *photographs, *given, *extra, "--out", str(tmp_path / name)])
        for file in ("mesh.obj", "mesh.glb", "texture.png", "confidence.png", "overlay.png", "parameters.json"):
            assert (tmp_path / name / file).stat().st_size > 100
        shapes.append(json.loads((tmp_path / name / "parameters.json").read_text())["shape"])
    # Four steps of training leave the network at the mean head; the fit has found a person.
    network, fit = (sum(value**2 for value in shape) for shape in shapes)
    assert network < 1 < fit
    cli.main(["evaluate", "--out", str(tmp_path / "scores.csv")])
    assert "three_view" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "scores.csv")["setting"]) == {"wild", "three_view", "single_view"}
    cli.main(["doctor"])
    assert "head.path: data/raw/head.npz found" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        cli.main(["reconstruct", "nothing.png"])
    assert str(stopped.value).startswith("error: reconstruct: nothing.png is not a readable image")
