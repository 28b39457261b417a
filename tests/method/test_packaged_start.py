"""The packaged start: what it says, and what of it another network is given."""

import copy

import pytest
import torch

from mfnet.errors import UserError
from mfnet.head import Directions, HeadModel
from mfnet.method.network import MFNet, Parameters
from mfnet.method.start import StartNetwork, load_start, start_from

IMAGES = torch.rand(2, 2, 3, 128, 128, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def said(network: MFNet) -> Parameters:
    return network.eval()(IMAGES)


def test_one_photograph_and_several_are_answered() -> None:
    network = StartNetwork("compact", 8, Directions(), torch.arange(7)).eval()
    with torch.no_grad():
        for views in (1, 3):
            parameters, points = network(torch.rand(2, views, 3, 128, 128))
            assert parameters.rotation.shape == (2, views, 3)
            assert points.places.shape == (2, views, 7, 2)
            assert (points.spread > 0).all()


def test_a_network_of_the_same_head_says_at_first_what_the_start_says() -> None:
    start, config = load_start()
    network = MFNet(config.encoder, config.features, Directions(60, 20, 5))
    start_from(network, config.encoder, config.features, network.directions, config.head)
    ours, theirs = said(network), said(start.mfnet)
    for name in ("rotation", "camera", "jaw", "light"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(ours.shape, theirs.shape[:, :60])
    torch.testing.assert_close(ours.expression, theirs.expression[:, :20])


def test_a_network_of_another_head_is_given_what_does_not_depend_on_it() -> None:
    start, config = load_start()
    network = MFNet(config.encoder, config.features, config.directions)
    before = copy.deepcopy(network.shared_head.state_dict())
    sentence = start_from(network, config.encoder, config.features, config.directions, "another")
    assert "another" in sentence
    assert "anew" in sentence
    ours, theirs = said(network), said(start.mfnet)
    for name in ("rotation", "camera", "light"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    for name, value in network.shared_head.state_dict().items():
        assert torch.equal(value, before[name])


def test_another_encoder_is_refused() -> None:
    _, config = load_start()
    with pytest.raises(UserError, match="those of encoder compact with 256 features, not of compact with 8"):
        start_from(MFNet("compact", 8, config.directions), "compact", 8, config.directions, config.head)


def test_the_packaged_start_knows_points_of_the_packaged_head(head: HeadModel) -> None:
    start, config = load_start()
    assert config.head == head.fingerprint
    assert head.regions["face"][start.point_vertices].mean() > 0.5
