import torch
from hypothesis import given
from hypothesis import strategies as st
from reference_cameras import toward_pinhole

from mfnet.head import rotation_from_axis_angle
from mfnet.render.camera import (
    Crop,
    Lens,
    ndc_to_pixel,
    orthographic_project,
    pinhole_project,
    pixel_to_ndc,
)


def test_orthographic_projection_flips_y_and_z_after_shifting() -> None:
    points = torch.tensor([[[0.1, 0.2, 0.3]]])
    projected = orthographic_project(points, torch.tensor([[2.0, 0.05, -0.1]]))
    torch.testing.assert_close(projected, torch.tensor([[[0.3, -0.2, -0.6]]]))


def test_pinhole_puts_the_principal_point_in_the_middle() -> None:
    K = torch.tensor([[[100.0, 0, 32], [0, 100, 24], [0, 0, 1]]])
    Rt = torch.eye(3, 4)[None]
    projected = pinhole_project(torch.tensor([[[0.0, 0, 5], [1, 0, 10]]]), K, Rt, (48, 64))
    torch.testing.assert_close(projected[0], torch.tensor([[0.0, 0, 5], [10 / 32, 0, 10]]))


def test_pinhole_turns_the_world_before_it_looks() -> None:
    """A camera five along the world's x axis, looking back along it: y is to its right and z above."""
    rotation = torch.tensor([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])
    extrinsics = torch.cat([rotation, torch.tensor([[0.0], [0.0], [5.0]])], 1)[None]
    K = torch.tensor([[[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]])
    points = torch.tensor([[[0.0, 1, 0], [0, 0, 1], [2, 0, 0]]])
    projected = pinhole_project(points, K, extrinsics, (100, 100))
    torch.testing.assert_close(projected[0], torch.tensor([[0.4, 0, 5], [0, -0.4, 5], [0, 0, 3.0]]))
    toward = toward_pinhole(points, extrinsics)
    expected = torch.nn.functional.normalize(torch.tensor([[5.0, -1, 0], [5, 0, -1], [3, 0, 0]]), dim=-1)
    torch.testing.assert_close(toward[0], expected)


def test_what_is_behind_a_pinhole_is_nowhere_in_its_picture_and_stops_no_gradient() -> None:
    K = torch.tensor([[[100.0, 0, 32], [0, 100, 24], [0, 0, 1]]])
    points = torch.tensor([[[0.1, 0, 5], [0.1, 0, -5], [0.1, 0, 0]]], requires_grad=True)
    projected = pinhole_project(points, K, torch.eye(3, 4)[None], (48, 64))
    assert projected[0, :, 0].isnan().tolist() == [False, True, True]
    projected[0, 0].sum().backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


def test_a_lens_sees_what_the_photographs_pinhole_sees() -> None:
    """A head half a metre before a camera: through K, then cropped, and through the crop's lens."""
    draw = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(1, 20, 3, generator=draw, dtype=torch.float64)
    K = torch.tensor([[[400.0, 0, 120], [0, 400, 130], [0, 0, 1]]], dtype=torch.float64)
    place = torch.tensor([0.03, -0.02, 0.5], dtype=torch.float64)
    Rt = torch.cat([torch.diag(torch.tensor([1.0, -1, -1])).double(), place[:, None]], 1)[None]
    crop = Crop(140.0, 110.0, 180.0)
    through_k = pinhole_project(points, K, Rt, (256, 256))
    expected = crop.to_square(ndc_to_pixel(through_k[..., :2], (256, 256)))

    lens = Lens(*(part.double() for part in crop.lens(K[0].numpy())))
    origin = torch.zeros(1, 3, dtype=torch.float64)
    scale = lens.focal[:, None] / place[2]
    seen_at = crop.to_square(ndc_to_pixel(pinhole_project(origin[None], K, Rt, (256, 256))[0, :, :2], (256, 256)))
    projected = lens.project(points, origin, scale, seen_at)
    torch.testing.assert_close(projected[..., :2], expected, atol=1e-6, rtol=0)
    camera = lens.unproject(projected, scale)
    torch.testing.assert_close(camera, points @ Rt[:, :, :3].mT + place, atol=1e-6, rtol=0)
    torch.testing.assert_close(lens.toward(projected, scale), toward_pinhole(points, Rt), atol=1e-6, rtol=0)


def test_a_long_lens_is_scaled_orthography() -> None:
    points = torch.randn(2, 7, 3, dtype=torch.float64)
    camera = torch.tensor([[9.0, 0.01, -0.02], [11, 0, 0.03]], dtype=torch.float64)
    anchor = points.mean(1)
    place = camera[:, :1] * (anchor[:, :2] + camera[:, 1:]) * torch.tensor([1.0, -1])
    far = Lens(torch.full((2,), 1e7, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64))
    expected = orthographic_project(points, camera)
    expected[..., 2] -= -camera[:, :1] * anchor[:, 2:]
    torch.testing.assert_close(far.project(points, anchor, camera[:, :1], place), expected, atol=1e-4, rtol=0)


def test_gradients_agree_with_finite_differences() -> None:
    points = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    camera = torch.tensor([[2.0, 0.1, -0.2], [0.5, 0, 3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(orthographic_project, (points, camera))
    lens = Lens(torch.tensor([5.0, 3.0]).double(), torch.zeros(2, 2).double())
    place = torch.tensor([[0.1, 0.2], [0.0, -0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p, a, s, q: lens.project(p, a[:, 0], s[:, :1].exp(), q),
        (0.1 * points.detach().requires_grad_(), points, camera, place),
    )
    intrinsics = torch.tensor([[[100.0, 0, 32], [0, 90, 24], [0, 0, 1]]], dtype=torch.float64, requires_grad=True)
    extrinsics = torch.cat([torch.eye(3), torch.tensor([[0.1], [0.2], [9.0]])], 1).double()[None].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, k, rt: pinhole_project(p, k, rt, (48, 64)), (points, intrinsics, extrinsics)
    )


@given(st.floats(-500, 1500), st.floats(-500, 1500), st.integers(8, 2000), st.integers(8, 2000))
def test_pixel_and_ndc_invert_each_other(x: float, y: float, height: int, width: int) -> None:
    pixels = torch.tensor([[x, y]], dtype=torch.float64)
    again = ndc_to_pixel(pixel_to_ndc(pixels, (height, width)), (height, width))
    torch.testing.assert_close(again, pixels, atol=1e-6, rtol=1e-9)


@given(st.floats(-300, 900), st.floats(-300, 900), st.floats(4, 700))
def test_crop_maps_its_corners_and_back(x: float, y: float, side: float) -> None:
    crop = Crop(x, y, side)
    corner = torch.tensor([x + side / 2, y - side / 2], dtype=torch.float64)
    torch.testing.assert_close(crop.to_square(corner), torch.tensor([1.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(crop.to_photograph(crop.to_square(corner)), corner)


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_a_turn_takes_the_axis_to_the_ray_through_a_place(x: float, y: float) -> None:
    lens = Lens(torch.tensor([2.0]).double(), torch.tensor([[0.3, -0.2]]).double())
    turn = lens.turn(torch.tensor([[x, y]]).double())
    ray = rotation_from_axis_angle(turn)[0] @ torch.tensor([0.0, 0, -1]).double()
    expected = torch.tensor([(x - 0.3) / 2, -(y + 0.2) / 2]).double()
    torch.testing.assert_close(ray[:2] / -ray[2], expected)
    assert turn[0, 2] == 0


def test_a_turn_has_a_gradient_on_the_axis() -> None:
    lens = Lens(torch.tensor([2.0, 2.0]).double(), torch.zeros(2, 2).double())
    place = torch.tensor([[0.0, 0.0], [0.4, 0.1]]).double().requires_grad_()
    assert torch.autograd.gradcheck(lens.turn, place)
