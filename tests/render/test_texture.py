import torch

from mfnet.head import Flame, HeadModel
from mfnet.render import Renderer
from mfnet.render.camera import orthographic_project
from mfnet.render.texture import fill_unseen, fuse_textures


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
    hidden = (facing[0] > 0.15) & (weight[0, 0] == 0) & (renderer.space.fragment_faces[0] >= 0)
    assert hidden.float().mean() > 0.002


def test_fusion_prefers_the_frontal_view_and_mirrors_what_none_saw() -> None:
    textures = torch.stack([torch.full((3, 4, 4), 0.2), torch.full((3, 4, 4), 0.8)])[None]
    weights = torch.zeros(1, 2, 1, 4, 4)
    weights[0, 0, 0, :, 0], weights[0, 1, 0, :, 0] = 0.9, 0.1
    fused, confidence = fuse_textures(textures, weights)
    assert (fused[0, :, :, 0] < 0.21).all()
    filled = fill_unseen(fused, confidence, torch.ones(1, 3, 4, 4))
    torch.testing.assert_close(filled[..., 3], fused[..., 0])
    assert (filled[..., 1:3] == 1).all()


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
