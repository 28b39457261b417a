"""The store of runs: where it lies, and what is said when it cannot be used."""

import shutil
import sqlite3
import subprocess
from pathlib import Path

import mlflow
import pytest

from mfnet.errors import UserError
from pipeline import tracking


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, in which the test works, with no store and no call of DVC around it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", tracking.PARENT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    yield folder
    mlflow.set_tracking_uri(None)


def log_one(stage: str = "train") -> str:
    with tracking.tracked(stage, {"loss": {"eye": 1.0}}, []) as run:
        (Path("note.txt")).write_text("kept")
        mlflow.log_artifact("note.txt")
    return run.info.run_id


def test_the_store_lies_in_the_root_whatever_the_working_folder(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(repository / "deep/er")
    log_one()
    assert (repository / "mlflow.db").is_file()
    assert list((repository / "mlartifacts").rglob("note.txt"))
    assert sorted(path.name for path in (repository / "deep/er").iterdir()) == ["note.txt"]


def test_dvc_says_where_the_root_is(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(repository))
    log_one()
    assert (repository / "mlflow.db").is_file()
    assert not (tmp_path / "copy/mlflow.db").exists()


def test_a_moved_repository_finds_its_artifacts_and_writes_them_where_it_lies(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = log_one()
    mlflow.set_tracking_uri(None)
    moved = tmp_path / "elsewhere"
    shutil.move(repository, moved)
    monkeypatch.chdir(moved)
    second = log_one("flow")
    client = tracking.connect()
    for run_id in (first, second):
        assert Path(client.download_artifacts(run_id, "note.txt")).read_text() == "kept"
        assert client.get_run(run_id).info.artifact_uri.startswith((moved / "mlartifacts").as_uri())
    assert not repository.exists()


def test_a_moved_repository_finds_its_models(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "model.py").write_text("import mlflow\nmlflow.models.set_model(lambda model_input: model_input)\n")
    with tracking.tracked("train", {}, []):
        model = mlflow.pyfunc.log_model(name="mfnet", python_model="model.py", pip_requirements=[])
        mlflow.register_model(f"models:/{model.model_id}", "mfnet")
    mlflow.set_tracking_uri(None)
    moved = tmp_path / "elsewhere"
    shutil.move(repository, moved)
    monkeypatch.chdir(moved)
    tracking.connect()
    fetched = mlflow.artifacts.download_artifacts("models:/mfnet/1", dst_path=str(tmp_path / "fetched"))
    assert (Path(fetched) / "model.py").is_file()


def test_a_folder_of_artifacts_that_somebody_has_chosen_stays(repository: Path, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{repository / 'mlflow.db'}")
    shared = (tmp_path / "shared by all").as_uri()
    mlflow.MlflowClient().create_experiment(tracking.EXPERIMENT, shared)
    run_id = log_one()
    assert tracking.connect().get_run(run_id).info.artifact_uri.startswith(shared)


def test_a_relative_address_means_the_root_and_a_damaged_store_is_one_line(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setenv("DVC_ROOT", str(repository))
    monkeypatch.chdir(tmp_path)
    log_one()
    assert (repository / "mlflow.db").is_file()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (repository / "mlflow.db").write_bytes(b"half a database" * 100)
    with pytest.raises(UserError, match=r"^mlflow: sqlite:////") as caught:
        log_one()
    assert "\n" not in str(caught.value)


def test_a_deleted_experiment_ends_in_one_line_that_says_what_to_type(repository: Path) -> None:
    log_one()
    client = tracking.connect()
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(UserError, match=r"type: .*mlflow experiments restore --experiment-id 1") as caught:
        log_one()
    assert "\n" not in str(caught.value)


def test_a_store_of_an_older_mlflow_ends_in_one_line_that_says_what_to_type(repository: Path) -> None:
    log_one()
    with sqlite3.connect(repository / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    mlflow.set_tracking_uri(None)
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    with pytest.raises(UserError, match=r"older MLflow; type: mlflow db upgrade sqlite:////") as caught:
        log_one()
    assert "\n" not in str(caught.value)


def test_scores_come_to_the_run_that_trained_the_model_and_else_to_the_active_one(
    repository: Path, tmp_path: Path
) -> None:
    models = {}
    for name in ("ours", "somebody's"):
        models[name] = tmp_path / name
        models[name].mkdir()
        (models[name] / "model.safetensors").write_bytes(name.encode())
    with tracking.tracked("train", {}, []) as trained:
        mlflow.set_tag(tracking.MODEL_TAG, tracking.model_digest(models["ours"]))
    (tmp_path / "mfnet.csv").write_text("3.0")
    per_image = tmp_path / "mfnet.csv"
    with tracking.tracked("evaluate", {}, []) as scored:
        tracking.log_scores(models["ours"], {"wild": 3.0}, "FaceScape", per_image)
        tracking.log_scores(models["somebody's"], {"lab": 4.0, "lab_one": None}, "FaceScape", per_image)
        # Of another benchmark they do not take the place of the first one's.
        tracking.log_scores(models["ours"], {"wild": 9.0}, "faces only", per_image)
    client = tracking.connect()
    assert client.get_run(trained.info.run_id).data.metrics == {"wild": 3.0}
    assert client.get_run(scored.info.run_id).data.metrics == {"lab": 4.0, "wild": 9.0}
    kept = client.download_artifacts(trained.info.run_id, tracking.scores_artifact("FaceScape"))
    assert Path(kept).read_text() == "3.0"


def test_experiments_of_one_queue_worker_are_calls_of_their_own(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        log_one()
    client = tracking.connect()
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    assert experiment is not None
    names = [run.info.run_name for run in client.search_runs([experiment.experiment_id])]
    assert sorted(names) == ["pipeline first", "pipeline second", "train", "train"]
