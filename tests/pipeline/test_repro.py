"""`dvc repro` and the Prefect flow around it, at the smallest size."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest
from scratch_clone import Clone, ran

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


def test_reports_are_made(clone: Clone) -> None:
    metrics = json.loads((clone.folder / "reports/metrics.json").read_text())
    assert list(metrics) == ["full", "no_eye", "refined", "baselines"]
    assert metrics["full"]["wild"]["60-90"]["n"] == 1
    assert 0 < metrics["full"]["landmarks"]["held_out_error"] < 1
    assert set(metrics["full"]["lab"]) == {"three_view", "single_view"}
    # The ablation is of the wild set, as the paper's is.
    assert metrics["no_eye"]["wild"]["all"]["done_rate"] == 1
    assert metrics["no_eye"]["lab"] == {}
    settings = {"three_view", "single_view"}
    assert set(metrics["refined"]["lab"]) == settings | {f"{setting}_own_size" for setting in settings}
    # Four steps of training are worth nothing, and what is refined by a detector's landmarks before known lenses much.
    refined = metrics["refined"]["lab"]["three_view_own_size"]["cd_mm"]
    assert refined < 0.9 * metrics["full"]["lab"]["three_view"]["cd_mm"]
    assert metrics["baselines"]["mean_head"]["lab"]["single_view"]["cd_mm"] > 0
    assert set(metrics["baselines"]["landmark_fit"]["lab"]) == set(metrics["refined"]["lab"])
    assert set(pd.read_csv(clone.folder / "reports/tables/differences.csv")["method"]) == {
        "full, one view", "no_eye", "refined", "mean_head", "landmark_fit", "oracle_fit"}  # fmt: skip
    held_back = pd.read_csv(clone.folder / "reports/attribution.csv").set_index("what")["cd_mm"]
    assert held_back["all of them"] < min(held_back["as it is"], held_back["all of them, as it is"])
    landmarks = metrics["full"]["aflw2000"]
    assert {name: values["n"] for name, values in landmarks.items()} == {"0-30": 1, "30-60": 1, "60-90": 1, "mean": 3}
    assert 0 < landmarks["mean"]["nme_percent"] < 40
    page = (clone.folder / "reports/index.html").read_text()
    assert page.count("<img src='data:image/png;base64") == 11
    assert "What holds accuracy back" in page
    assert "Landmarks on AFLW2000-3D" in page
    assert pd.read_csv(clone.folder / "reports/tables/failures.csv").empty
    # Nothing is loaded or linked from outside; the viewer's frame is escaped.
    assert not re.search(r"(src|href)=(&quot;|&#x27;|[\"'])(https?:)?//", page)
    assert "Three.js Authors" in page
    for table in (1, 2, 3, 4):
        assert "measured here" in (clone.folder / f"reports/tables/{table}.md").read_text()
        assert len(pd.read_csv(clone.folder / f"reports/tables/{table}.csv")) > 5


def test_the_documents_tables_are_those_of_the_run(clone: Clone) -> None:
    texts = {name: (clone.folder / name).read_text() for name in ("README.md", "docs/results.md", "docs/people.md")}
    done = clone.run("pipeline.document_tables")
    assert done.returncode == 0, done.stderr[-2000:]
    means = pd.read_csv(clone.folder / "reports/tables/means.csv").set_index("method")
    readme, results = ((clone.folder / name).read_text() for name in ("README.md", "docs/results.md"))
    assert f"| MFNet | {means.loc['full', 'wild']} |" in readme
    assert (clone.folder / "reports/tables/3.md").read_text().strip() in results
    assert "| FaceScape, lab | 1 |" in (clone.folder / "docs/people.md").read_text()
    assert clone.run("pipeline.document_tables").returncode == 0
    assert (clone.folder / "docs/results.md").read_text() == results
    for name, text in texts.items():
        (clone.folder / name).write_text(text)


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
    stages = {"synthesize", "index", "preprocess", "flow", "attribution", "aflw2000", "report"}
    stages |= {f"{stage}@{variant}" for stage in ("train", "evaluate") for variant in ("full", "no_eye")}
    stages |= {f"evaluate@{baseline}" for baseline in ("refined", "mean_head", "landmark_fit", "oracle_fit")}
    assert stages | {"pipeline"} == set(by_name)
    parent = by_name["pipeline"]["id"]
    assert all(by_name[name]["mlflow.parentRunId"] == parent for name in stages)
    trained = by_name["train@no_eye"]
    assert trained["params"]["loss.eye"] == "0.0"
    assert "loss_singlelmk" in trained["metrics"]
    assert trained["input.data/faces"].endswith(".dir")
    assert len(trained["git_commit"]) == 40


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
    done = clone.run("pipeline.index")
    (clone.folder / "params.yaml").write_text(before)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error: data.multipie: ")]
    assert "Traceback" not in done.stderr
    code = (
        "from mlflow.tracking import MlflowClient; c = MlflowClient('sqlite:///mlflow.db');"
        "e = c.get_experiment_by_name('mfnet').experiment_id;"
        "print(sorted(r.info.run_name for r in c.search_runs([e], \"attributes.status = 'FAILED'\")))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=clone.folder, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "['index', 'pipeline']"


def test_prefect_flow_looks_for_photographs_and_nests_its_stages(clone: Clone) -> None:
    done = clone.run("pipeline.flows", "index")
    assert done.returncode == 0, done.stderr[-3000:]
    assert ran(done) == ["index"]
    assert "mfnet-retrain" in done.stderr + done.stdout
