from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mfnet.errors import UserError
from mfnet.flow import load_flow_estimator
from mfnet.flow.consistency import forward_backward_consistency
from mfnet.flow.estimator import PACKAGED_WEIGHTS, RaftFlow, raft_refinements, warp
from mfnet.head import anny_head
from mfnet.head.strangers import stranger
from mfnet.pretraining.motion import MotionPairs
from mfnet.pretraining.raft import end_point_error


def texture(size: int = 128) -> torch.Tensor:
    picture = torch.full((1, 3, size, size), 0.5)
    for cells in (6, 16, 40):
        picture = picture + 0.12 * torch.nn.functional.interpolate(
            torch.randn(1, 3, cells, cells), (size, size), mode="bicubic"
        )
    return picture.clamp(0, 1)


@pytest.mark.parametrize("name", ["packaged", "classical", "dis"])
def test_identical_images_have_next_to_no_flow(name: str) -> None:
    image = texture()
    assert load_flow_estimator(name)(image, image).abs().mean() < 0.15


@pytest.mark.parametrize("name", ["packaged", "classical", "dis"])
def test_a_known_shift_is_found(name: str) -> None:
    second = texture()
    flow = torch.zeros(1, 2, 128, 128)
    flow[:, 0], flow[:, 1] = 2.0, -1.0
    first = warp(second, flow)
    found = load_flow_estimator(name)(first, second)[..., 16:-16, 16:-16]
    assert (found - flow[..., 16:-16, 16:-16]).norm(dim=1).mean() < 0.8


@pytest.mark.parametrize(("kind", "share"), [("moved", 0.4), ("relit", 0.45), ("painted", 0.55)])
def test_packaged_weights_beat_dis_on_faces_of_another_head(kind: str, share: float) -> None:
    first, second, flow, weight = MotionPairs([stranger(anny_head(), 1)], 128, seed=5).batch(**{kind: 8})
    packaged, dis, still = (
        end_point_error(prediction, flow, weight)
        for prediction in (
            load_flow_estimator("packaged")(first, second), load_flow_estimator("dis")(first, second),
            torch.zeros_like(flow),
        )
    )  # fmt: skip
    assert packaged < dis
    assert packaged < share * still


def test_packaged_weights_see_no_motion_between_a_face_and_itself() -> None:
    first, second, _, _ = MotionPairs([stranger(anny_head(), 1)], 128, seed=5).batch(still=4)
    assert load_flow_estimator("packaged")(first, second).norm(dim=1).mean() < 0.05


@pytest.mark.parametrize("name", ["packaged", "classical"])
def test_flow_is_differentiable_in_both_images(name: str) -> None:
    first, second = texture().requires_grad_(), texture().requires_grad_()
    load_flow_estimator(name)(first, second).abs().sum().backward()
    for image in (first, second):
        assert image.grad is not None
        assert torch.isfinite(image.grad).all()
        assert image.grad.abs().sum() > 0


def test_warp_brings_the_second_image_onto_the_first() -> None:
    image = texture()
    flow = torch.zeros(1, 2, 128, 128)
    flow[:, 0] = 3
    torch.testing.assert_close(warp(image, flow)[..., :-3], image[..., 3:])


def test_consistency_holds_for_a_shift_inside_the_image_and_fails_for_a_contradiction() -> None:
    forward = torch.zeros(1, 2, 32, 32)
    forward[:, 0] = 4
    consistent = forward_backward_consistency(forward, -forward)[0, 0]
    assert consistent[:, :28].all()
    assert not consistent[:, 29:].any()
    assert not forward_backward_consistency(forward, forward).any()


def test_consistency_lies_over_the_image_that_the_first_flow_starts_from() -> None:
    """Only the left half of b moves in a way that a confirms."""
    from_b, from_a = torch.zeros(1, 2, 32, 32), torch.zeros(1, 2, 32, 32)
    from_b[:, 0, :, 16:] = 3
    consistent = forward_backward_consistency(from_b, from_a)[0, 0]
    assert consistent[:, :16].all()
    assert not consistent[:, 16:].any()


def test_raft_takes_any_size() -> None:
    image = texture(128)[..., :100, :121].requires_grad_()
    flow = load_flow_estimator("packaged")(image, image)
    assert flow.shape == (1, 2, 100, 121)


class TellsPlaces(torch.nn.Module):
    """Stands for RAFT: its flow is the place of every pixel in what it is shown, 0 at the edge."""

    shown: tuple[int, ...] = ()

    def forward(self, first: torch.Tensor, second: torch.Tensor, num_flow_updates: int) -> list[torch.Tensor]:
        self.shown = tuple(first.shape[-2:])
        rows, columns = (torch.arange(side) + 0.5 for side in self.shown)
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
        return num_flow_updates * [places.expand(len(first), -1, -1, -1)]


@pytest.mark.parametrize(("enlargement", "shown"), [(1, (128, 128)), (2, (200, 248)), (3, (304, 368))])
def test_flow_is_in_pixels_of_the_images_however_much_raft_sees_them_enlarged(
    enlargement: int, shown: tuple[int, int]
) -> None:
    model, image = TellsPlaces(), torch.rand(2, 3, 100, 121)
    flows = raft_refinements(model, image, image, 3, enlargement)
    assert model.shown == shown
    assert len(flows) == 3
    for flow in flows:
        assert flow.shape == (2, 2, 100, 121)
        torch.testing.assert_close(flow[0, 0, 7], torch.arange(121) + 0.5)
        torch.testing.assert_close(flow[1, 1, :, 9], torch.arange(100) + 0.5)


def test_a_file_of_weights_says_how_much_larger_raft_is_to_see_images(tmp_path: Path) -> None:
    state, images = load_file(PACKAGED_WEIGHTS), (texture(), texture())
    for name, metadata, enlargement in (("plain", None, 1), ("enlarged", {"enlargement": "2"}, 2)):
        path = tmp_path / f"{name}.safetensors"
        save_file(state, path, metadata=metadata)
        estimator = load_flow_estimator(str(path))
        assert isinstance(estimator, RaftFlow)
        expected = RaftFlow(estimator.model, 6, enlargement)(*images)
        torch.testing.assert_close(estimator(*images), expected)
    for wrong in ("twice", "0", "-1"):
        save_file(state, path, metadata={"enlargement": wrong})
        with pytest.raises(UserError, match="does not hold RAFT's weights"):
            load_flow_estimator(str(path))


def test_unknown_name_and_wrong_file_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'raft' is neither"):
        load_flow_estimator("raft")
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="does not hold RAFT's weights"):
        load_flow_estimator(str(path))
