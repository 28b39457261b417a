import pytest
import torch
from torch.nn.functional import avg_pool2d

from mfnet.flow.estimator import warp
from mfnet.head import HeadModel
from mfnet.pretraining.motion import KINDS, MotionPairs


@pytest.fixture(scope="module")
def pairs(head: HeadModel) -> MotionPairs:
    return MotionPairs([head], 128, seed=1)


def test_every_kind_has_images_flow_and_weight(pairs: MotionPairs) -> None:
    for kind in KINDS:
        drawn = pairs.batch(**{kind: 3})
        assert drawn.first.shape == drawn.second.shape == (3, 3, 128, 128)
        assert drawn.flow.shape == (3, 2, 128, 128)
        assert drawn.weight.shape == (3, 1, 128, 128)
        assert 0 <= drawn.first.min() < drawn.first.max() <= 1
        assert drawn.weight.mean() > 0.1, kind


def test_the_same_seed_draws_the_same(pairs: MotionPairs) -> None:
    drawn = []
    for seed in (7, 8, 7):
        pairs.seed(seed)
        drawn.append(pairs.batch(texture=1, moved=1, painted=1, apart=1))
    for first, _, again in zip(*drawn, strict=True):
        torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(drawn[0].first, drawn[1].first)


@pytest.mark.parametrize("kind", ["moved", "apart"])
def test_exact_flow_points_at_the_same_skin(pairs: MotionPairs, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warping the second image by the flow gives the first, where light and exposure are the same in both."""
    ambient = torch.zeros(1, 9, 3).index_fill(1, torch.tensor([0]), 2.5)
    monkeypatch.setattr(pairs, "_light", lambda size: ambient.expand(size, -1, -1))
    monkeypatch.setattr(pairs, "_exposed", lambda picture: picture)
    pairs.seed(2)
    first, second, flow, weight = pairs.batch(**{kind: 6})
    inside = avg_pool2d(weight, 5, 1, 2) > 0.999
    difference, unwarped = (
        ((picture - first).abs() * inside).sum() / inside.sum() / 3 for picture in (warp(second, flow), second)
    )
    assert difference < 0.35 * unwarped


def test_what_another_part_of_the_head_hides_is_not_known(pairs: MotionPairs) -> None:
    """Two cameras far apart: the skin on the far side of the nose and the other cheek is seen by one of them only."""
    pairs.seed(3)
    _, _, flow, weight = pairs.batch(apart=8)
    on_the_head = flow.abs().sum(1, keepdim=True) > 0
    assert 0.05 < ((weight == 0) & on_the_head).float().sum() / on_the_head.float().sum() < 0.7
    assert not ((weight == 1) & ~on_the_head).any()


def test_still_pairs_are_an_image_and_itself(pairs: MotionPairs) -> None:
    first, second, flow, weight = pairs.batch(still=2)
    assert torch.equal(first, second)
    assert flow.abs().max() == 0
    assert weight.min() == 1
