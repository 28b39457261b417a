"""Published weights: what of them an encoder is given, and the pixels that it sees from then on."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from mfnet.errors import UserError
from mfnet.head import Directions
from mfnet.method.encoders import CENTRED, IMAGENET, UNCHANGED, PixelRange, build_encoder, load_encoder
from mfnet.method.network import MFNet


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A state dict as torchvision publishes them, the classifier's last layer included."""
    torch.manual_seed(0)
    return models.resnet18().state_dict()


def of_deca(state: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The same in DECA's checkpoint, beside its regressor and its other networks."""
    encoder = {f"encoder.{key}": value for key, value in state.items() if not key.startswith("fc.")}
    return {"E_flame": {**encoder, "layers.0.weight": torch.zeros(2, 2)}, "D_detail": {"fc.weight": torch.zeros(1)}}


@pytest.mark.parametrize("source", ["torchvision", "safetensors", "deca"])
def test_an_encoder_says_what_the_published_one_says_of_its_own_pixels(
    published: dict[str, torch.Tensor], tmp_path: Path, source: str
) -> None:
    path = tmp_path / ("weights.safetensors" if source == "safetensors" else "weights.tar")
    if source == "safetensors":
        save_file(published, path)
    else:
        torch.save(of_deca(published) if source == "deca" else published, path)
    network = MFNet("resnet18", 8, Directions(4, 3, 2)).eval()
    pixels, sentence = load_encoder(network.encoder, path)
    network.expect(pixels)
    images = torch.rand(1, 2, 3, 64, 64)
    reference = models.resnet18()
    reference.load_state_dict(published)
    reference.fc = torch.nn.Identity()
    mean, spread = ((0, 0, 0), (1, 1, 1)) if source == "deca" else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected_pixels = (images[0] - torch.tensor(mean)[:, None, None]) / torch.tensor(spread)[:, None, None]
    with torch.no_grad():
        expected = network.encoder[1:](reference.eval()(expected_pixels))[None]
        torch.testing.assert_close(network.features(images), expected, atol=1e-5, rtol=1e-4)
    not_taken = "D_detail, layers.0.weight" if source == "deca" else "fc.bias, fc.weight"
    assert sentence.endswith(f"not taken: {not_taken}")
    assert "120 tensors" in sentence


@pytest.mark.parametrize("pixels", [CENTRED, IMAGENET, UNCHANGED])
def test_the_range_of_the_pixels_goes_where_the_weights_go(pixels: PixelRange) -> None:
    first, second = (MFNet("compact", 8, Directions(4, 3, 2)).eval() for _ in range(2))
    first.expect(pixels)
    second.load_state_dict(first.state_dict())
    images = torch.rand(1, 1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(first.features(images), second.features(images))


def test_weights_of_another_encoder_are_refused(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(published, tmp_path / "resnet18.pth")
    with pytest.raises(UserError, match=r"resnet18\.pth lacks layer1\.0\.bn3\.bias"):
        load_encoder(build_encoder("resnet50", 8), tmp_path / "resnet18.pth")
    with pytest.raises(UserError, match="cannot be loaded into the compact encoder"):
        load_encoder(build_encoder("compact", 8), tmp_path / "resnet18.pth")
    deeper = tmp_path / "deeper.pth"
    torch.save(published | {"layer3.7.conv1.weight": torch.zeros(1)}, deeper)
    with pytest.raises(UserError, match=r"deeper\.pth has layer3\.7\.conv1\.weight besides"):
        load_encoder(build_encoder("resnet18", 8), deeper)
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"empty\.pth does not fit the encoder"):
        load_encoder(build_encoder("resnet18", 8), tmp_path / "empty.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match=r"list\.pth does not fit the encoder"):
        load_encoder(build_encoder("resnet18", 8), tmp_path / "list.pth")
