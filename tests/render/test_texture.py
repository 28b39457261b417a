import torch
from hypothesis import given
from hypothesis import strategies as st
from reference_cameras import toward_pinhole

from mfnet.head import Flame, HeadModel, rotation_from_axis_angle
from mfnet.render import Renderer, View
from mfnet.render.camera import orthographic_project, pinhole_project
from mfnet.render.rasterize import rasterize
from mfnet.render.shading import vertex_normals
from mfnet.render.texture import complete_texture, coverage, diffuse, fill_unseen, fuse_textures, mirror_unseen


def seen(head: HeadModel, yaw: float, size: int = 128):  # type: ignore[no-untyped-def]
    renderer = Renderer(head, size, 256, 10)
    pose = torch.zeros(1, 15)
    pose[0, 1] = yaw
    out = Flame(head)(torch.zeros(1, 100), torch.zeros(1, 50), pose)
    centred = out.vertices - out.landmarks.mean(1, keepdim=True)
    return renderer, renderer.view(out.vertices, orthographic_project(centred, torch.tensor([[9.0, 0, 0]])))


def test_what_a_view_shows_comes_back_when_it_is_rendered_again(head: HeadModel) -> None:
    renderer, view = seen(head, 0.3)
    rows = torch.linspace(0, 6, 128)
    photograph = 0.5 + 0.4 * torch.stack([rows.sin().expand(128, 128), rows[:, None].cos().expand(128, 128)] + [
        (rows + rows[:, None]).sin()])[None]  # fmt: skip
    texture, weight = renderer.extract(photograph, view)
    again = renderer.render(texture, view)
    confident = renderer.render((weight > 0.3).float(), view) > 0.99
    assert confident.float().mean() > 0.2
    assert ((again - photograph).abs() * confident).max() < 0.12
    assert ((again - photograph).abs() * confident).sum() / confident.sum() / 3 < 0.01


def test_hidden_side_has_no_weight(head: HeadModel) -> None:
    renderer, view = seen(head, 1.2)
    _, weight = renderer.extract(torch.rand(1, 3, 128, 128), view)
    texels_x = renderer.space.unwrap(torch.tensor(head.template)[None], renderer.faces)[..., 0]
    near = weight[0, 0][texels_x[0] < -0.03]
    far = weight[0, 0][texels_x[0] > 0.045]
    assert near.mean() > 5 * far.mean()


def test_a_surface_behind_another_is_hidden_by_depth_not_by_normal(head: HeadModel) -> None:
    """At 60 degrees the far cheek still faces the camera a little, but the nose stands before part of it."""
    renderer, view = seen(head, 1.0)
    _, weight = renderer.extract(torch.rand(1, 3, 128, 128), view)
    facing = -(renderer.space.unwrap(view.normals, renderer.faces)[..., 2:] * -1)[..., 0]
    in_image = (renderer.space.unwrap(view.projected[..., :2], renderer.faces).abs() < 1).all(-1)[0]
    hidden = (facing[0] > 0.15) & (weight[0, 0] == 0) & (renderer.space.fragment_faces[0] >= 0) & in_image
    assert hidden.float().mean() > 0.002


def test_a_head_that_does_not_quite_fit_takes_no_background_for_skin(head: HeadModel) -> None:
    renderer, view = seen(head, 0.4)
    shifted = view.projected + torch.tensor([2 / 128, 0, 0])
    skin = (rasterize(shifted, renderer.faces, (128, 128)).pix_to_face >= 0)[:, None]
    photograph = torch.where(skin, 0.5, torch.tensor([0.0, 1.0, 0.0])[:, None, None])
    sampled, weight = renderer.extract(photograph, view)
    assert ((sampled[:, 1:2] > 0.55) & (weight > 0)).sum() > 100
    texture, confidence = complete_texture(*(part[None] for part in renderer.extract_inside(photograph, view)))
    assert (texture - 0.5).abs().max() < 1e-4
    assert (confidence > 0).float().mean() > 0.6 * (weight > 0).float().mean()


def test_coverage_is_whole_away_from_silhouette_and_border_and_nothing_beside_them(head: HeadModel) -> None:
    renderer, view = seen(head, 0.0)
    value = coverage(renderer.space, view.projected, renderer.faces, view.fragments)
    shown = renderer.space.sample(value, view.fragments)[0, 0]
    covered = view.fragments.pix_to_face[0] >= 0
    padded = torch.nn.functional.pad(covered, (4, 4, 4, 4))
    windows = padded.unfold(0, 9, 1).unfold(1, 9, 1)
    deep, rim = windows.all(-1).all(-1), covered & ~windows[..., 3:6, 3:6].all(-1).all(-1)
    facing = renderer.render(renderer.extract(torch.ones(1, 3, 128, 128), view)[1], view)[0, 0] > 0.5
    assert (deep & facing).sum() > 2000
    assert shown[deep & facing].min() > 0.6
    assert rim.sum() > 100
    # Of the throat, whose texels are few, coverage is coarse.
    assert shown[:112][(rim & facing)[:112]].max() < 0.05


def test_fusion_prefers_the_frontal_view_and_mirrors_what_none_saw() -> None:
    textures = torch.stack([torch.full((3, 4, 4), 0.2), torch.full((3, 4, 4), 0.8)])[None]
    weights = torch.zeros(1, 2, 1, 4, 4)
    weights[0, 0, 0, :, 0], weights[0, 1, 0, :, 0] = 0.9, 0.1
    fused, confidence = fuse_textures(textures, weights)
    assert (fused[0, :, :, 0] < 0.21).all()
    filled = fill_unseen(fused, confidence, torch.ones(1, 3, 4, 4))
    torch.testing.assert_close(filled[..., 3], fused[..., 0])
    assert (filled[..., 1:3] == 1).all()


def test_mirroring_keeps_the_confidence_of_where_it_copied_from() -> None:
    confidence = torch.tensor([0.7, 0.0, 0.4, 0.0]).expand(1, 1, 4, 4)
    _, mirrored = mirror_unseen(torch.rand(1, 3, 4, 4), confidence)
    torch.testing.assert_close(mirrored[0, 0, 0], torch.tensor([0.7, 0.4, 0.4, 0.7]))


@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(3, 40))
def test_diffusion_keeps_what_is_known_and_stays_within_its_range(seed: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    texture = torch.rand(2, 3, height, width, generator=generator)
    known = torch.rand(2, 1, height, width, generator=generator) < 0.2
    known[:, :, 0, 0] = True
    filled = diffuse(texture, known)
    assert torch.equal(filled[known.expand_as(filled)], texture[known.expand_as(texture)])
    for index in range(2):
        for channel in range(3):
            values = texture[index, channel][known[index, 0]]
            assert values.min() - 1e-5 <= filled[index, channel].min()
            assert filled[index, channel].max() <= values.max() + 1e-5


def test_diffusion_between_two_edges_is_the_straight_line() -> None:
    """Heat between two walls settles linearly."""
    known = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    known[..., 0] = known[..., -1] = True
    texture = torch.zeros(1, 1, 32, 32)
    texture[..., -1] = 1
    line = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    assert (diffuse(texture, known) - line).abs().max() < 0.1
    assert (diffuse(texture, known, sweeps=200) - line).abs().max() < 0.01


def test_rendering_is_differentiable_in_geometry_and_texture(head: HeadModel) -> None:
    renderer, view = seen(head, 0.2, 64)
    vertices = view.projected.clone().requires_grad_()
    texture = torch.rand(1, 3, 256, 256, requires_grad=True)
    again = renderer.view(torch.tensor(head.template)[None], vertices)
    renderer.render(texture, again).square().sum().backward()
    assert vertices.grad is not None
    assert texture.grad is not None
    assert torch.isfinite(vertices.grad).all()
    assert vertices.grad.abs().sum() > 0
    assert texture.grad.abs().sum() > 0


def doubled(head: HeadModel) -> tuple[Renderer, torch.Tensor, torch.Tensor]:
    """A small renderer in float64 with a turned head: posed vertices [1, V, 3] and the same projected."""
    renderer = Renderer(head, 48, 32, 3).double()
    pose = torch.zeros(1, 15, dtype=torch.float64)
    pose[0, 1] = 0.4
    out = Flame(head).double()(torch.randn(1, 100).double(), torch.zeros(1, 50).double(), pose)
    centred = out.vertices - out.landmarks.mean(1, keepdim=True)
    camera = torch.tensor([[9.0, 0.01, -0.02]], dtype=torch.float64)
    return renderer, out.vertices, orthographic_project(centred, camera)


def smooth_picture(size: int) -> torch.Tensor:
    rows = torch.linspace(0, 3, size, dtype=torch.float64)
    return torch.stack([rows.sin()[None] * rows.cos()[:, None], (rows + rows[:, None]).sin(),
                        (rows[:, None] * rows).cos()])[None]  # fmt: skip


# Six numbers that turn and place the head: scale, tx, ty of the camera and an axis-angle.
PLACED = torch.tensor([9.0, 0.01, -0.02, 0.05, 0.4, -0.03], dtype=torch.float64)


def placed(head: HeadModel, numbers: torch.Tensor, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pose = torch.cat([numbers[3:], torch.zeros(12, dtype=torch.float64)])[None]
    out = Flame(head, 4, 1).double()(shape[None], torch.zeros(1, 1).double(), pose)
    centred = out.vertices - out.landmarks.mean(1, keepdim=True)
    return out.vertices, orthographic_project(centred, numbers[None, :3])


def probed(picture: torch.Tensor, probes: int = 6) -> torch.Tensor:
    """A few weighted sums of a picture: each number of the input moves each of them."""
    draw = torch.Generator().manual_seed(4)
    weights = torch.randn(probes, picture.numel(), generator=draw, dtype=torch.float64)
    return weights @ picture.flatten() / picture.numel() ** 0.5


def check(function, *inputs: torch.Tensor) -> None:  # type: ignore[no-untyped-def]
    """Every derivative against central differences, to a thousandth of the largest by the same number."""
    jacobians = torch.autograd.functional.jacobian(function, inputs)
    for position, jacobian in enumerate(jacobians):
        for entry in range(inputs[position].numel()):
            moved = []
            for step in (1e-7, -1e-7):
                changed = [value.clone() for value in inputs]
                changed[position].view(-1)[entry] += step
                moved.append(function(*changed))
            numerical = (moved[0] - moved[1]) / 2e-7
            analytical = jacobian.flatten(1)[:, entry]
            assert (analytical - numerical).abs().max() < 1e-6 + 1e-3 * numerical.abs().max(), (position, entry)
        assert jacobian.abs().max() > 1e-2


def test_gradients_of_extraction_agree_with_finite_differences(head: HeadModel) -> None:
    """Equation 3 in place, turn, shape and photograph; which texels are seen carries no gradient."""
    renderer, _, _ = doubled(head)
    generator = torch.Generator().manual_seed(1)
    pictures = torch.stack([smooth_picture(48)[0].roll(k, 0) * (k + 1) for k in range(3)])

    def extract(numbers: torch.Tensor, shape: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
        texture, weight = renderer.extract(
            (mix[:, None, None, None] * pictures).sum(0)[None], renderer.view(*placed(head, numbers, shape))
        )
        return probed(texture * (weight > 0.2))

    check(extract, PLACED, torch.randn(4, generator=generator).double(), torch.rand(3, generator=generator).double())


def test_gradients_of_rendering_agree_with_finite_differences(head: HeadModel) -> None:
    """Equation 4 in texture, place, turn and shape, away from the silhouette."""
    renderer, _, _ = doubled(head)
    generator = torch.Generator().manual_seed(1)
    textures = torch.stack([smooth_picture(32)[0].roll(k, 0) * (k + 1) for k in range(3)])
    shape = torch.randn(4, generator=generator).double()
    inside = renderer.face_mask(renderer.view(*placed(head, PLACED, shape)))

    def render(numbers: torch.Tensor, shape: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
        texture = (mix[:, None, None, None] * textures).sum(0)[None]
        return probed(inside * renderer.render(texture, renderer.view(*placed(head, numbers, shape))))

    check(render, PLACED, shape, torch.rand(3, generator=generator).double())


def test_gradients_of_the_shaded_texture_agree_with_finite_differences(head: HeadModel) -> None:
    """Equation 2 in texture space: turn, shape, albedo and light."""
    renderer, _, _ = doubled(head)
    generator = torch.Generator().manual_seed(1)

    def shaded(numbers: torch.Tensor, shape: torch.Tensor, colour: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
        normals = vertex_normals(placed(head, torch.cat([PLACED[:3], numbers]), shape)[0], renderer.faces)
        return probed(renderer.shaded_texture(normals, renderer.albedo(colour), light))

    inputs = [torch.randn(*size, generator=generator).double() for size in ((4,), (1, 3), (1, 9, 3))]
    check(shaded, PLACED[3:], *inputs)


def test_gradients_of_fusing_and_of_diffusion_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    textures, weights = torch.rand(1, 2, 3, 4, 4, generator=generator), torch.rand(1, 2, 1, 4, 4, generator=generator)
    check(lambda t, w: probed(torch.cat(fuse_textures(t, w), 1)), textures.double(), 0.1 + weights.double())
    known = torch.rand(1, 1, 6, 5, generator=generator) < 0.4
    check(lambda t: probed(diffuse(t, known)), torch.rand(1, 2, 6, 5, generator=generator).double())


def pinhole(head: HeadModel, unit: float, by_pose: bool) -> tuple[Renderer, View]:
    """A head turned by a radian before a pinhole, by its own pose or by the camera's; lengths in the given unit."""
    renderer = Renderer(head, 96, 64, 1)
    turn = rotation_from_axis_angle(torch.tensor([0.1, 1.0, 0.0]))
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    vertices = torch.tensor(head.template)[None] * unit
    rotation = flip if by_pose else flip @ turn
    vertices = vertices @ turn.T if by_pose else vertices
    extrinsics = torch.cat([rotation, torch.tensor([[0.0], [0.0], [0.7 * unit]])], 1)[None]
    intrinsics = torch.tensor([[[200.0, 0, 48], [0, 200, 48], [0, 0, 1]]])
    projected = pinhole_project(vertices, intrinsics, extrinsics, (96, 96))
    return renderer, renderer.view(vertices, projected, toward_pinhole(vertices, extrinsics))


def test_what_a_camera_sees_does_not_depend_on_whether_it_or_the_head_was_turned(head: HeadModel) -> None:
    photograph = torch.rand(1, 3, 96, 96)
    (renderer, turned), (_, walked_around) = (pinhole(head, 1.0, by_pose) for by_pose in (True, False))
    weights = [renderer.extract(photograph, view)[1] for view in (turned, walked_around)]
    assert weights[0].mean() > 0.05
    assert ((weights[0] - weights[1]).abs() > 1e-3).float().mean() < 2e-3


def test_what_a_camera_sees_does_not_depend_on_the_unit_of_length(head: HeadModel) -> None:
    photograph = torch.rand(1, 3, 96, 96)
    weights = []
    for unit in (1.0, 1000.0):
        renderer, view = pinhole(head, unit, by_pose=False)
        weights.append(renderer.extract(photograph, view)[1])
    assert ((weights[0] - weights[1]).abs() > 1e-3).float().mean() < 2e-3


def test_weight_is_how_squarely_the_surface_faces_the_camera(head: HeadModel) -> None:
    renderer, view = seen(head, 0.5, 96)
    weight = renderer.extract(torch.rand(1, 3, 96, 96), view)[1][0, 0]
    normals = renderer.uv_normals(view.normals)[0]
    shown = weight > 0
    assert shown.float().mean() > 0.1
    assert (weight[shown] - normals[shown][:, 2]).abs().median() < 0.01
    assert weight[shown].min() < 0.2
    assert weight[shown].max() > 0.9


def test_a_wall_hides_what_is_behind_it_and_nothing_before_it(head: HeadModel) -> None:
    renderer, view = seen(head, 0.0, 96)
    depth = renderer.space.unwrap(view.projected, renderer.faces)[..., 2]
    extent = float(view.projected[..., 2].max() - view.projected[..., 2].min())
    shown = renderer.extract(torch.rand(1, 3, 96, 96), view)[1][:, 0] > 0
    wall = depth[shown].median()
    behind_a_wall = view.fragments._replace(
        pix_to_face=torch.zeros_like(view.fragments.pix_to_face), zbuf=torch.full_like(view.fragments.zbuf, wall)
    )
    weight = renderer.extract(torch.rand(1, 3, 96, 96), view._replace(fragments=behind_a_wall))[1][:, 0]
    assert (weight[shown & (depth < wall)] > 0).all()
    assert (weight[depth > wall + 0.015 * extent] == 0).all()
    assert (shown & (depth > wall + 0.015 * extent)).sum() > 500


def test_normals_in_texture_space_are_those_of_the_surface(head: HeadModel) -> None:
    renderer, vertices, _ = doubled(head)
    normals = renderer.uv_normals(vertex_normals(vertices, renderer.faces))
    covered = renderer.space.fragment_faces >= 0
    torch.testing.assert_close(normals[covered].norm(dim=-1), torch.ones(int(covered.sum())).double())
    corners = vertices[0, renderer.faces[renderer.space.fragment_faces[covered]]]
    flat = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    agreement = (torch.nn.functional.normalize(flat, dim=-1) * normals[covered]).sum(-1)
    assert agreement.median() > 0.99
    assert (agreement > 0).double().mean() > 0.98


def test_skull_and_neck_are_kept_further_from_the_silhouette_than_the_face(head: HeadModel) -> None:
    renderer, view = seen(head, 0.0)
    arguments = (renderer.space, view.projected, renderer.faces, view.fragments)
    everywhere, by_region = coverage(*arguments), coverage(*arguments, renderer.skull_and_neck)
    loose = renderer.skull_and_neck[renderer.space.fragment_faces.clamp(min=0)][:, None]
    assert torch.equal(everywhere[~loose], by_region[~loose])
    assert (by_region[loose] <= everywhere[loose] + 1e-6).all()
    assert (by_region[loose] > 0.5).sum() < 0.8 * (everywhere[loose] > 0.5).sum()


def test_what_is_mirrored_has_the_light_of_where_it_goes() -> None:
    detail = torch.rand(1, 3, 16, 8) * 0.2
    left, right = 0.2 + detail, 0.6 + detail.flip(-1)
    textures = torch.cat([left, right], -1)[None]
    weights = torch.ones(1, 1, 1, 16, 16)
    weights[..., :3] = 0
    texture, confidence = complete_texture(textures, weights)
    # Half as bright and of the same detail: what is mirrored continues what was seen beside it.
    torch.testing.assert_close(texture, torch.cat([left, right], -1), atol=1e-5, rtol=0)
    assert (confidence[..., :3] == 0).all()
