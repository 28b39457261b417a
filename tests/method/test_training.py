"""The loop on a handful of generated triplets: it learns, resumes where it stopped, and repeats itself."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from workbench import Workbench

from mfnet.errors import UserError
from mfnet.flow import load_flow_estimator
from mfnet.head import Directions
from mfnet.method import training, validation
from mfnet.method.checkpoint import remove_checkpoints
from mfnet.method.objective import losses_of
from mfnet.reconstruct import Reconstructor
from mfnet.reconstruct.model_folder import ModelConfig, write_model


class Records:
    """Remembers what it is told; raises at one step, as an interruption does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.pictures: list[int] = []
        self._stop_after = stop_after

    def begin(self, start: str, step: int) -> None:
        self.start = start

    def log(self, step: int, values: dict[str, float]) -> None:
        self.rows.append((step, values))
        if step == self._stop_after:
            raise KeyboardInterrupt

    def picture(self, step: int, image: np.ndarray) -> None:
        assert image.dtype == np.uint8
        self.pictures.append(step)


class Outcome(NamedTuple):
    rows: list[tuple[int, dict[str, float]]]
    pictures: list[int]
    weights: dict[str, torch.Tensor]


def run(
    bench: Workbench, folder: Path, variant: str = "full", stop_after: int | None = None, digest: str = "",
    **changes: object,
) -> Outcome:  # fmt: skip
    records = Records(stop_after)
    network, _ = training.train(bench.setting(variant, **changes), bench.material(digest), records, folder)
    return Outcome(records.rows, records.pictures, network.state_dict())


def same(first: Outcome, second: Outcome) -> bool:
    return all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())


def losses(rows: list) -> list[float]:  # type: ignore[type-arg]
    return [values["loss"] for _, values in rows]


def test_an_interruption_after_the_last_step_still_reports_the_whole_curve(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(validation, "training_picture", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(bench, tmp_path / "model")
    resumed = run(bench, tmp_path / "model")
    assert [step for step, _ in resumed.rows] == list(range(1, 9))
    assert resumed.pictures == [8]
    # Until the network has been written: an interruption now would cost no step either.
    assert (tmp_path / "model/checkpoint.pt").is_file()
    remove_checkpoints(tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


def test_from_the_packaged_start_it_begins_where_that_one_is(bench: Workbench, tmp_path: Path) -> None:
    nothing = bench.setting("no_multiop", steps=1, log_every=1)
    packaged = replace(nothing, network=nothing.network.model_copy(update={"weights": "packaged"}))
    errors = []
    for name, setting in (("nothing", nothing), ("packaged", packaged)):
        records = Records()
        (tmp_path / name).mkdir()
        training.train(setting, bench.material(), records, tmp_path / name)
        errors.append(records.rows[0][1]["loss_singlelmk"])
    assert errors[1] < 0.5 * errors[0]


def test_a_residual_encoder_is_trained_from_published_weights(bench: Workbench, tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), path)
    setting = bench.setting("no_multiop", steps=1, log_every=1, learning_rate=0.0)
    of_file = setting.network.model_copy(update={"encoder": "resnet18", "weights": path})
    records = Records()
    network, values = training.train(replace(setting, network=of_file), bench.material(), records, tmp_path / "model")
    assert "not taken: fc.bias, fc.weight" in records.start
    torch.testing.assert_close(network.encoder[0].conv1.weight, torch.load(path)["conv1.weight"])
    assert network.pixel_mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    moved = replace(setting, network=of_file, train=setting.train.model_copy(update={"learning_rate": 1e-3}))
    stepped, _ = training.train(moved, bench.material(), Records(), tmp_path / "model")
    assert np.isfinite(values["loss"])
    assert (stepped.encoder[0].conv1.weight != network.encoder[0].conv1.weight).any()


def test_it_learns_its_own_data(bench: Workbench, tmp_path: Path) -> None:
    rows = run(bench, tmp_path / "model", "no_multiop", steps=60, jitter=0.0, log_every=10).rows
    assert rows[-1][1]["loss_singlelmk"] < 0.6 * rows[0][1]["loss_singlelmk"]
    assert np.isfinite(rows[-1][1]["landmark_error_validation"])


def test_the_same_seed_repeats_and_a_resumed_run_continues(bench: Workbench, tmp_path: Path) -> None:
    unbroken, repeated = run(bench, tmp_path / "a"), run(bench, tmp_path / "b")
    assert losses(unbroken.rows) == losses(repeated.rows)
    assert same(unbroken, repeated)
    with pytest.raises(KeyboardInterrupt):
        run(bench, tmp_path / "c", stop_after=6)
    resumed = run(bench, tmp_path / "c")
    assert [step for step, _ in resumed.rows] == list(range(1, 9))
    assert losses(resumed.rows) == losses(unbroken.rows)
    assert same(unbroken, resumed)


def test_a_checkpoint_of_other_inputs_is_not_resumed(bench: Workbench, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(bench, tmp_path / "model", stop_after=6, digest="yesterday's faces", picture_every=3)
    assert (tmp_path / "model" / "checkpoint.pt").is_file()
    anew = run(bench, tmp_path / "model", digest="today's faces", picture_every=3)
    # Resumed, it would not come by step 3 again.
    assert anew.pictures == [3, 6, 8]
    assert losses(anew.rows) == losses(run(bench, tmp_path / "other").rows)


def test_multiview_term_appears_late_and_changes_the_outcome(bench: Workbench, tmp_path: Path) -> None:
    rows = run(bench, tmp_path / "a").rows
    terms = [values["loss_multiop"] for _, values in rows]
    begin = bench.params.train.multiop_after * 8
    assert all(term == 0 for term in terms[: int(begin)])
    assert all(term > 0 for term in terms[int(begin) + 1 :])
    without = run(bench, tmp_path / "b", "no_multiop").rows
    assert losses(rows)[-1] != losses(without)[-1]


def test_all_forms_of_the_multiview_term_reach_shape_camera_and_rotation(bench: Workbench) -> None:
    setting = bench.setting()
    material = replace(bench.material(), estimator=load_flow_estimator("packaged"))
    instruments = training._instruments(setting, material, torch.device("cpu"))
    network = training._new_network(setting, bench.head)[0].eval()
    batch = next(bench.data["train"].batches(2))
    values = set()
    for form in ("in_loop", "measured", "precomputed"):
        parameters = network(batch.images)
        watched = {name: getattr(parameters, name) for name in ("shape", "rotation", "camera", "jaw")}
        for tensor in watched.values():
            tensor.retain_grad()
        loss = bench.params.loss.model_copy(update={"multiop_form": form})
        terms = losses_of(instruments, parameters, batch, loss, torch.tensor([[0, 0], [1, 2]]))
        terms["multiop"].backward()
        values.add(terms["multiop"].item())
        for name, tensor in watched.items():
            assert tensor.grad is not None, name
            assert tensor.grad.abs().sum() > 0, name
    assert len(values) == 3


def test_a_trained_folder_reconstructs_from_one_view_and_from_three(bench: Workbench, tmp_path: Path) -> None:
    network, _ = training.train(bench.setting(), bench.material(), Records(), tmp_path / "model")
    config = ModelConfig(
        head=bench.head.fingerprint, **Directions()._asdict(), encoder="compact", features=256, image_size=128,
        crop_scale=1.25,
    )  # fmt: skip
    write_model(tmp_path / "model", config, network, bench.head)
    reconstructor = Reconstructor.load(tmp_path / "model")
    row = bench.data["train"].rows.iloc[0]
    store = bench.data["train"]._faces
    crops = [store.image(row[f"{view}_shard"], row[f"{view}_row"]) for view in ("front", "left", "right")]
    landmarks = [(np.asarray(row[f"{view}_landmarks"]).reshape(68, 2) + 1) * 64 for view in ("front", "left", "right")]
    for count in (1, 3):
        result = reconstructor(crops[:count], landmarks[:count])
        assert result.vertices.shape == bench.head.template.shape
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
        with Image.open(tmp_path / f"out{count}" / "overlay.png") as overlay:
            # The photographs, and below them the shape over them.
            above, below = np.split(np.asarray(overlay), 2)
        assert above.shape[1] == count * above.shape[0]
        assert np.array_equal(above, np.concatenate(result.crops, 1))
        assert not np.array_equal(above, below)
        assert "texture.png" in (tmp_path / f"out{count}" / "mesh.mtl").read_text()
    with pytest.raises(UserError, match="no photograph given"):
        reconstructor([])
    with pytest.raises(UserError, match="is missing"):
        reconstructor([tmp_path / "nothing.png"])


def test_missing_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="what the train stage writes"):
        Reconstructor.load(tmp_path)
