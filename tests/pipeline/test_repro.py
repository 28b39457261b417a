"""`dvc repro` and the Prefect flow around it, at the smallest size."""

import json
import re

import pandas as pd
import pytest
from scratch_clone import Clone, mlflow_runs, ran

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


def test_reports_are_made(clone: Clone) -> None:
    metrics = json.loads((clone.folder / "reports/metrics.json").read_text())
    assert {name: list(values) for name, values in metrics.items()} == {
        "mfnet": ["wild", "lab", "lab_one", "landmarks"], "refined": ["wild", "lab"],
        "mean_head": ["wild", "lab"]}  # fmt: skip
    # Four steps of training are worth nothing, and what is refined by a detector's landmarks before known lenses much.
    assert metrics["refined"]["lab"] < 0.9 * metrics["mfnet"]["lab"]
    assert 1 < metrics["mfnet"]["landmarks"] < 100
    scores = json.loads((clone.folder / "reports/scores.json").read_text())
    assert list(scores) == ["mfnet", "refined", "mean_head", "landmark_fit", "oracle_fit", "ablation"]
    assert scores["mfnet"]["wild"]["60-90"]["n"] == 1
    views = {"mfnet": ("three_view", "single_view"), "mean_head": ("single_view",)}
    for name, settings in views.items():
        assert set(scores[name]["lab"]) == {setting + own for setting in settings for own in ("", "_own_size")}
    # The ablation is of the wild set, as the paper's is.
    assert {name: values["lab"] for name, values in scores["ablation"].items()} == {"full": {}, "no_eye": {}}
    assert scores["ablation"]["no_eye"]["wild"]["all"]["done_rate"] == 1
    # The same loss, seed and data give the same network.
    assert scores["ablation"]["full"]["wild"] == scores["mfnet"]["wild"]
    assert metrics["mfnet"]["lab"] == round(scores["mfnet"]["lab"]["three_view_own_size"]["cd_mm"], 3)
    landmarks = scores["mfnet"]["aflw2000"]
    assert {name: values["n"] for name, values in landmarks.items()} == {"0-30": 1, "30-60": 1, "60-90": 1, "mean": 3}
    assert 0 < landmarks["mean"]["nme_percent"] < 40


def test_tables_and_attribution_are_made(clone: Clone) -> None:
    tables = clone.folder / "reports/tables"
    assert set(pd.read_csv(tables / "differences.csv")["method"]) == {
        "MFNet, one view", "refined", "mean head", "landmark fit", "oracle fit"}  # fmt: skip
    assert set(pd.read_csv(tables / "ablation_differences.csv")["method"]) == {"no eye"}
    held_back = pd.read_csv(clone.folder / "reports/attribution.csv").set_index("what")["cd_mm"]
    assert held_back["all of them"] < min(held_back["as it is"], held_back["all of them, as it is"])
    assert pd.read_csv(tables / "failures.csv").empty
    for table in (1, 2, 3, 4):
        assert "measured here" in (tables / f"{table}.md").read_text()
        assert len(pd.read_csv(tables / f"{table}.csv")) > 5
    assert "its loss is other" not in (tables / "3.md").read_text()


def test_the_page_is_one_file_that_loads_nothing(clone: Clone) -> None:
    page = (clone.folder / "reports/index.html").read_text()
    assert len(page) < 6e6
    assert not re.search(r"(src|href)=[\"'](https?:)?//", page)
    assert "Three.js Authors" in page
    # One wild photograph's four heads on top, and of one wild and one lab item all five methods'.
    assert page.count("<canvas data-head=") == 4 + 2 * 5
    assert page.index("class='verdict'") < page.index("<canvas") < page.index("<table>") < page.index("<details>")
    assert page.count("<img src='data:image/") == 13


def test_the_documents_tables_are_those_of_the_run(clone: Clone) -> None:
    names = ("README.md", "docs/results.md", "docs/results_tables.md", "docs/people.md")
    texts = {name: (clone.folder / name).read_text() for name in names}
    done = clone.run("pipeline.document_tables")
    assert done.returncode == 0, done.stderr[-2000:]
    means = pd.read_csv(clone.folder / "reports/tables/means.csv").set_index("method")
    readme, results = ((clone.folder / name).read_text() for name in ("README.md", "docs/results_tables.md"))
    assert f"| MFNet | {means.loc['MFNet', 'wild']} |" in readme
    assert (clone.folder / "reports/tables/3.md").read_text().strip() in results
    assert "| FaceScape, lab | 1 |" in (clone.folder / "docs/people.md").read_text()
    assert clone.run("pipeline.document_tables").returncode == 0
    assert (clone.folder / "docs/results_tables.md").read_text() == results
    for name, text in texts.items():
        (clone.folder / name).write_text(text)


def test_every_stage_is_a_run_nested_under_the_pipelines(clone: Clone) -> None:
    runs = mlflow_runs(clone.folder)
    by_name = {run["name"]: run for run in runs}
    assert {run["status"] for run in runs} == {"FINISHED"}
    stages = {"synthesize", "index", "preprocess", "flow", "train", "evaluate", "refined", "attribution", "aflw2000"}
    stages |= {f"{stage}@{name}-0" for stage in ("ablation", "evaluate_ablation") for name in ("full", "no_eye")}
    stages |= {"report", *(f"baselines@{name}" for name in ("mean_head", "landmark_fit", "oracle_fit"))}
    assert stages | {"pipeline"} == set(by_name)
    assert all(by_name[name]["tags"]["mlflow.parentRunId"] == by_name["pipeline"]["id"] for name in stages)
    # Beside what is logged of the machine.
    own = [[name for name in run["metrics"] if not name.startswith("system/")] for run in runs]
    assert all(len(names) < 20 for names in own)


def test_a_networks_run_holds_its_weights_its_curves_and_its_scores(clone: Clone) -> None:
    by_name = {run["name"]: run for run in mlflow_runs(clone.folder)}
    metrics = json.loads((clone.folder / "reports/metrics.json").read_text())
    trained, ablated = by_name["train"], by_name["ablation@no_eye-0"]
    assert (trained["params"]["loss.eye"], ablated["params"]["loss.eye"]) == ("1.0", "0.0")
    for run, expected in ((trained, {"wild", "lab", "lab_one"}), (ablated, {"wild"})):
        assert {"loss_singlelmk", "landmark_error_validation"} | expected <= set(run["metrics"])
        assert run["tags"]["input.data/faces"].endswith(".dir")
        assert len(run["tags"]["git_commit"]) == 40
    assert trained["metrics"]["wild"] == pytest.approx(metrics["mfnet"]["wild"], abs=1e-3)
    parent = by_name["pipeline"]
    assert parent["params"]["train.steps"] == "4"
    assert parent["metrics"] == pytest.approx(
        {f"{name}.{place}": value for name, values in metrics.items() for place, value in values.items()}
    )


def test_nothing_runs_twice_even_when_code_was_compiled_meanwhile(clone: Clone) -> None:
    compiled = clone.folder / "mfnet/render/__pycache__/rasterize.a_later_signature.nbc"
    compiled.parent.mkdir(exist_ok=True)
    compiled.write_bytes(b"machine code")
    done = clone.run("dvc", "repro")
    assert done.returncode == 0
    assert ran(done) == []


def test_a_stage_that_fails_stops_dvc_with_one_line_and_without_a_traceback(clone: Clone) -> None:
    before = (clone.folder / "params.yaml").read_text()
    clone.change({"data": {"multipie": "data/raw/facescape"}})
    done = clone.run("pipeline.stages.index")
    (clone.folder / "params.yaml").write_text(before)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error: data.multipie: ")]
    assert "Traceback" not in done.stderr
    failed = [run["name"] for run in mlflow_runs(clone.folder) if run["status"] == "FAILED"]
    assert sorted(failed) == ["index", "pipeline"]
