"""The loop on a handful of generated triplets: it learns, resumes where it stopped, and repeats itself."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml

from mfnet import training
from mfnet.config import Params, SynthesizeParams
from mfnet.data.batches import TripletData
from mfnet.data.index import build_index
from mfnet.data.store import FaceStore, preprocess
from mfnet.data.triplets import mine_triplets
from mfnet.errors import UserError
from mfnet.flow import load_flow_estimator
from mfnet.flow.store import FlowStore, precompute_flow
from mfnet.guided_flow import GuidedFlow
from mfnet.head import HeadModel
from mfnet.losses import variant_loss
from mfnet.reconstruct import Reconstructor
from mfnet.synthesis.multipie_tree import synthesize_multipie

ROOT = Path(__file__).parents[1]


class Setting(NamedTuple):
    params: Params
    data: dict[str, TripletData]
    head: HeadModel


@pytest.fixture(scope="module")
def setting(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    root = tmp_path_factory.mktemp("training")
    head.save(root / "head.npz")
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["head"]["path"] = str(root / "head.npz")
    content["data"] |= {"multipie": str(root / "tree"), "triplets": 12}
    content["train"] |= {"steps": 8, "batch": 4, "multiop_pairs": 1, "log_every": 1, "checkpoint_every": 5}
    params = Params.model_validate(content)
    made = SynthesizeParams(
        multipie_subjects=2, recordings=1, illuminations=[7], wild_per_bin=1, lab_subjects=1, relief_mm=0.5
    )
    synthesize_multipie(root / "tree", root / "head.npz", made, 0, 1)
    faces, _ = preprocess(build_index(root / "tree"), params.data, "sidecar", root / "faces", 1)
    triplets = mine_triplets(faces, params.data, 0)
    store = FaceStore(root / "faces")
    guided = GuidedFlow(head, params.head, params.fit, params.data.image_size, load_flow_estimator("classical"))
    precompute_flow(triplets, store, guided, params.flow, root / "flow", torch.device("cpu"))
    stores = (store, FlowStore(root / "flow", with_flow=True))
    data = {split: TripletData(triplets, split, *stores) for split in ("train", "validation")}
    return Setting(params, data, head)


def run(
    setting: Setting, target: Path, variant: str = "full", stop_after: int | None = None,
    inputs: str = "", pictures: list[int] | None = None, **changes: object,
) -> list:  # type: ignore[type-arg]  # fmt: skip
    rows: list[tuple[int, dict[str, float]]] = []
    shown = [] if pictures is None else pictures

    def log(step: int, values: dict[str, float]) -> None:
        rows.append((step, values))
        if step == stop_after:
            raise KeyboardInterrupt

    params = setting.params.model_copy(update={"train": setting.params.train.model_copy(update=changes)})
    loss = variant_loss(params.loss, variant)
    training.train(
        params, variant, loss, setting.data, setting.head, load_flow_estimator("classical"), target, log,
        lambda step, picture: shown.append(step), inputs,
    )  # fmt: skip
    return rows


def losses(rows: list) -> list[float]:  # type: ignore[type-arg]
    return [values["loss"] for _, values in rows]


def test_an_interruption_after_the_last_step_still_reports_the_whole_curve(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*arguments: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(training, "_write_model", full_disk)
        with pytest.raises(OSError, match="no space left"):
            run(setting, tmp_path / "model")
    pictures: list[int] = []
    assert [step for step, _ in run(setting, tmp_path / "model", pictures=pictures)] == list(range(1, 9))
    assert pictures == [8]
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_it_learns_its_own_data(setting: Setting, tmp_path: Path) -> None:
    rows = run(setting, tmp_path / "model", "no_multiop", steps=60, jitter=0.0, log_every=10)
    assert rows[-1][1]["loss_singlelmk"] < 0.6 * rows[0][1]["loss_singlelmk"]
    assert np.isfinite(rows[-1][1]["landmark_error_validation"])


def test_the_same_seed_repeats_and_a_resumed_run_continues(setting: Setting, tmp_path: Path) -> None:
    unbroken = run(setting, tmp_path / "a")
    repeated = run(setting, tmp_path / "b")
    assert losses(unbroken) == losses(repeated)
    weights = (tmp_path / "a" / "model.safetensors").read_bytes()
    assert weights == (tmp_path / "b" / "model.safetensors").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(setting, tmp_path / "c", stop_after=6)
    assert not (tmp_path / "c").exists()
    resumed = run(setting, tmp_path / "c")
    assert [step for step, _ in resumed] == list(range(1, 9))
    assert losses(resumed) == losses(unbroken)
    assert weights == (tmp_path / "c" / "model.safetensors").read_bytes()


def test_a_checkpoint_of_other_inputs_is_not_resumed(setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(setting, tmp_path / "model", stop_after=6, inputs="yesterday's faces", picture_every=3)
    assert (tmp_path / "model.partial" / "checkpoint.pt").is_file()
    pictures: list[int] = []
    anew = run(setting, tmp_path / "model", inputs="today's faces", pictures=pictures, picture_every=3)
    # Resumed, it would not come by step 3 again.
    assert pictures == [3, 6, 8]
    assert losses(anew) == losses(run(setting, tmp_path / "other"))


def test_multiview_term_appears_late_and_changes_the_outcome(setting: Setting, tmp_path: Path) -> None:
    rows = run(setting, tmp_path / "a")
    terms = [values["loss_multiop"] for _, values in rows]
    begin = setting.params.train.multiop_after * 8
    assert all(term == 0 for term in terms[: int(begin)])
    assert all(term > 0 for term in terms[int(begin) + 1 :])
    without = run(setting, tmp_path / "b", "no_multiop")
    assert losses(rows)[-1] != losses(without)[-1]


def test_all_forms_of_the_multiview_term_reach_shape_camera_and_rotation(setting: Setting) -> None:
    params = setting.params
    modules = training._modules(params, setting.head, load_flow_estimator("packaged"), torch.device("cpu"))
    network = training.MFNet(params.network, params.head).eval()
    batch = next(setting.data["train"].batches(2))
    values = set()
    for form in ("in_loop", "measured", "precomputed"):
        parameters = network(batch.images)
        watched = {name: getattr(parameters, name) for name in ("shape", "rotation", "camera", "jaw")}
        for tensor in watched.values():
            tensor.retain_grad()
        weights = params.loss.model_copy(update={"multiop_form": form})
        terms = training.compute_losses(modules, parameters, batch, weights, torch.tensor([[0, 0], [1, 2]]))
        terms.multiop.backward()
        values.add(terms.multiop.item())
        for name, tensor in watched.items():
            assert tensor.grad is not None, name
            assert tensor.grad.abs().sum() > 0, name
    assert len(values) == 3


def test_a_trained_folder_reconstructs_from_one_view_and_from_three(setting: Setting, tmp_path: Path) -> None:
    run(setting, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    of_another_version = {**json.loads(config.read_text()), "evaluate": {"no_longer": "known"}}
    config.write_text(json.dumps(of_another_version))
    reconstructor = Reconstructor.load(tmp_path / "model")
    row = setting.data["train"].rows.iloc[0]
    store = setting.data["train"]._faces
    crops = [store.image(row[f"{view}_shard"], row[f"{view}_row"]) for view in ("front", "left", "right")]
    landmarks = [(np.asarray(row[f"{view}_landmarks"]).reshape(68, 2) + 1) * 64 for view in ("front", "left", "right")]
    for count in (1, 3):
        result = reconstructor(crops[:count], landmarks[:count])
        assert result.vertices.shape == setting.head.template.shape
        assert len(result.cameras) == count
        result.save(tmp_path / f"out{count}")
        names = {path.name for path in (tmp_path / f"out{count}").iterdir()}
        assert names == {
            "mesh.obj",
            "mesh.mtl",
            "mesh.glb",
            "texture.png",
            "confidence.png",
            "overlay.png",
            "parameters.json",
        }
        assert "texture.png" in (tmp_path / f"out{count}" / "mesh.mtl").read_text()
    with pytest.raises(UserError, match="no photograph given"):
        reconstructor([])
    with pytest.raises(UserError, match="is missing"):
        reconstructor([tmp_path / "nothing.png"])


def test_missing_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder that the train stage wrote"):
        Reconstructor.load(tmp_path)
