import json
from pathlib import Path

import pytest
import torch

from mfnet.errors import UserError
from mfnet.head import Directions, HeadModel
from mfnet.method.network import MFNet
from mfnet.reconstruct.model_folder import ModelConfig, load_model, write_model

CPU, DIRECTIONS = torch.device("cpu"), Directions(4, 3, 2)


@pytest.fixture
def folder(head: HeadModel, tmp_path: Path) -> Path:
    config = ModelConfig(
        head=head.fingerprint, **DIRECTIONS._asdict(), encoder="compact", features=16, image_size=128, crop_scale=1.25
    )
    write_model(tmp_path, config, MFNet("compact", 16, DIRECTIONS), head)
    return tmp_path


def test_a_model_comes_back_as_it_was_and_its_config_says_what_is_needed_to_use_it(folder: Path) -> None:
    config, network, head = load_model(folder, CPU)
    assert config.directions == DIRECTIONS
    assert not network.training
    assert config.head == head.fingerprint
    stored = json.loads((folder / "config.json").read_text())
    assert stored == {
        "version": 3, "head": head.fingerprint, "n_shape": 4, "n_expression": 3, "n_albedo": 2, "encoder": "compact",
        "features": 16, "image_size": 128, "crop_scale": 1.25, "camera": "orthographic",
        "assumed_focal": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "is not JSON"),
        ("[]", "is of another version"),
        ('{"variant": "full", "train": {}}', "is of another version of this package; train the model anew"),
        ('{"version": 3, "head": "x"}', r"config\.json: n_shape: Field required"),
    ],
)
def test_a_config_that_cannot_be_read_says_so_in_a_line(folder: Path, content: str, expected: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match=expected) as caught:
        load_model(folder, CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"features": 17}, "does not fit config.json beside it"),
        ({"encoder": "vision"}, "does not fit config.json beside it"),
        ({"head": "0123456789ab"}, "the network is of 0123456789ab"),
        ({"camera": "fisheye"}, "camera: Input should be"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(folder: Path, changes: dict, expected: str) -> None:  # type: ignore[type-arg]
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=expected) as caught:
        load_model(folder, CPU)
    assert "\n" not in str(caught.value)


def test_what_is_missing_or_damaged_is_named(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"model\.safetensors does not fit"):
        load_model(folder, CPU)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing; expected what the train stage writes"):
        load_model(folder, CPU)
