"""The stages' errors and the command line on a pipeline that has run, in the test's own process."""

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import pandas as pd
import pytest
from scratch_clone import Clone

from mfnet import cli
from mfnet.app.demo import generated_person
from pipeline.outputs import main

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


@pytest.mark.parametrize(
    ("command", "sections", "message"),
    [
        ("index", {"loss": {"eyes": 1}}, "'eyes' is no term of the loss"),
        ("index", {"train": {"steps": 0}}, "train.steps: "),
        ("index", {"data": {"multipie": "nowhere"}}, "data.multipie: no folder nowhere"),
        ("evaluate mean_head", {"data": {"facescape": "nowhere"}}, "data.facescape: nowhere has no folder data/"),
        ("flow", {"flow": {"estimator": "raft"}}, "flow.estimator: 'raft' is neither"),
        ("evaluate_ablation no_lip 0", {}, "models/ablation/no_lip-0/config.json is missing"),
        ("evaluate no_eye", {}, "there is no method 'no_eye'; expected one of mfnet, refined, mean_head"),
        ("ablation no_eye 0", {"network": {"weights": "nowhere.pth"}}, "network.weights: no file at nowhere.pth"),
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
        main(importlib.import_module(f"pipeline.stages.{stage}").stage)
    (clone.folder / "params.yaml").write_text(before)
    assert str(stopped.value).startswith("error: ")
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert _outputs(clone.folder) == outputs


def _outputs(folder: Path) -> dict[Path, int]:
    """Everything that a later stage could read, with its time; what is half-made is named as such."""
    paths = [path for name in ("data", "models", "reports") for path in (folder / name).rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in paths if not any(".partial" in part for part in path.parts)}


def test_command_line_reconstructs_and_scores_a_trained_model(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clone.folder)
    root = Path("data/raw/multipie/session01/multiview/001/01")
    photographs = [str(next((root / camera).glob("*.png"))) for camera in ("05_1", "13_0", "04_1")]
    landmarks = ["--landmarks", "data/raw/multipie/landmarks.parquet"]
    shapes = []
    kinds = {"network": [], "fit": ["--fit"], "refined": ["--refine", "--focal", "1500"]}
    for name, extra in kinds.items():
        cli.main(["reconstruct", *photographs, *landmarks, *extra, "--out", str(tmp_path / name)])
        for file in ("mesh.obj", "mesh.glb", "texture.png", "confidence.png", "overlay.png", "parameters.json"):
            assert (tmp_path / name / file).stat().st_size > 100
        shapes.append(json.loads((tmp_path / name / "parameters.json").read_text())["shape"])
    # A regression stays nearer to the mean head than what has been optimised.
    network, fit, refined = (sum(value**2 for value in shape) for shape in shapes)
    assert 0 < network < min(fit, refined)
    # Multi-PIE's generated cameras stand 1.4 metres from the head. Landmarks that are off leave its size open.
    for camera in json.loads((tmp_path / "refined" / "parameters.json").read_text())["cameras"]:
        assert camera["focal"] * 2 / (camera["crop"][2] * camera["camera"][0]) == pytest.approx(1.4, rel=0.3)
    cli.main(["evaluate", "--out", str(tmp_path / "scores.csv")])
    assert "three_view" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "scores.csv")["setting"]) == {
        "wild", "three_view", "single_view", "three_view_own_size", "single_view_own_size"}  # fmt: skip
    cli.main(["evaluate", "mean_head", "--out", str(tmp_path / "mean_head.csv")])
    printed, stored = (pd.read_csv(path) for path in (tmp_path / "mean_head.csv", "reports/per_image/mean_head.csv"))
    pd.testing.assert_frame_equal(printed, stored)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", "oracle"])
    assert str(stopped.value).startswith("error: evaluate: there is no method 'oracle'; expected one of mfnet, ")
    cli.main(["doctor"])
    assert "head.path: data/raw/head.npz found" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        cli.main(["reconstruct", *photographs, "--focal", "-1"])
    assert str(stopped.value).startswith("error: reconstruct: --focal -1; expected")
    capsys.readouterr()
    cli.main(["reconstruct", *photographs, "--focal", "1500", "--out", str(tmp_path / "detected")])
    assert "network: models/mfnet" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    elsewhere = [str((clone.folder / path).resolve()) for path in photographs]
    cli.main(["reconstruct", *elsewhere, "--out", str(tmp_path / "packaged")])
    assert "network: packaged" in capsys.readouterr().out
    assert (tmp_path / "packaged" / "mesh.glb").stat().st_size > 100
    with pytest.raises(SystemExit) as stopped:
        cli.main(["reconstruct", "nothing.png"])
    assert str(stopped.value).startswith("error: reconstruct: nothing.png is missing")


def test_the_readmes_quickstart_does_what_it_says(clone: Clone) -> None:
    readme = (clone.folder / "README.md").read_text()
    assert "make demo " in readme
    assert "demo: $(READY)\n\tmfnet demo\n" in (clone.folder / "Makefile").read_text()
    for name, photograph in zip(("front", "left", "right"), generated_person(), strict=True):
        cv2.imwrite(str(clone.folder / f"{name}.jpg"), photograph[..., ::-1])
    commands = re.findall(r"^mfnet (reconstruct .*?\.jpg) +#", readme, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        done = clone.run("mfnet.cli", *command.split())
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.startswith("network: models/mfnet")
        assert all((clone.folder / "out" / name).is_file() for name in ("mesh.obj", "mesh.glb", "overlay.png"))
        shutil.rmtree(clone.folder / "out")
