from pathlib import Path

import pytest
import torch
from torchvision.models.optical_flow import raft_large, raft_small

from mfnet.flow import load_flow_estimator
from mfnet.flow.authors_checkpoint import torchvision_names


def authors_small_layers() -> list[str]:
    """Layers of the authors' small network in the order of their state dict, as read off a printed one."""
    blocks = [
        f"layer{layer}.{block}.{part}"
        for layer in (1, 2, 3)
        for block in (0, 1)
        for part in ("conv1", "conv2", "conv3", *(["downsample.0"] if layer > 1 and block == 0 else []))
    ]
    encoders = [f"{encoder}.{part}" for encoder in ("fnet", "cnet") for part in ("conv1", *blocks, "conv2")]
    updates = ["encoder.convc1", "encoder.convf1", "encoder.convf2", "encoder.conv",
               "gru.convz", "gru.convr", "gru.convq", "flow_head.conv1", "flow_head.conv2"]  # fmt: skip
    return encoders + [f"update_block.{part}" for part in updates]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_authors_small_checkpoint_loads_by_path(prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = raft_small().eval()
    names = [f"{prefix}{layer}.{kind}" for layer in authors_small_layers() for kind in ("weight", "bias")]
    torch.save(dict(zip(names, model.state_dict().values(), strict=True)), tmp_path / "raft-small.pth")
    first, second = torch.rand(2, 1, 3, 128, 128)
    with torch.no_grad():
        expected = model(first * 2 - 1, second * 2 - 1, num_flow_updates=3)[-1]
        found = load_flow_estimator(str(tmp_path / "raft-small.pth"), updates=3)(first, second)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("authors", "torchvision"),
    [
        ("cnet.norm1.running_mean", "context_encoder.convnormrelu.1.running_mean"),
        ("cnet.layer2.0.norm2.weight", "context_encoder.layer2.0.convnormrelu2.1.weight"),
        ("cnet.layer2.0.downsample.1.bias", "context_encoder.layer2.0.downsample.1.bias"),
        ("update_block.encoder.convc2.weight", "update_block.motion_encoder.convcorr2.0.weight"),
        ("update_block.gru.convq2.bias", "update_block.recurrent_block.convgru2.convq.bias"),
        ("update_block.mask.0.weight", "mask_predictor.convrelu.0.weight"),
        ("update_block.mask.2.bias", "mask_predictor.conv.bias"),
    ],
)
def test_layers_that_only_the_large_network_has(authors: str, torchvision: str) -> None:
    assert torchvision in raft_large().state_dict()
    assert list(torchvision_names({authors: torch.zeros(1)})) == [torchvision]


def test_the_shortcuts_norm_that_is_listed_twice_is_kept_once() -> None:
    state = {"cnet.layer3.0.norm3.weight": torch.zeros(1), "cnet.layer3.0.downsample.1.weight": torch.zeros(1)}
    assert list(torchvision_names(state)) == ["context_encoder.layer3.0.downsample.1.weight"]
