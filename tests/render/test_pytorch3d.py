"""Against PyTorch3D's own rasterizer, where it is installed: triangles, depths, barycentrics and their gradients."""

import pytest
import torch
from torch import Tensor

from mfnet.head import HeadModel
from mfnet.render.rasterize import rasterize

pytest.importorskip("pytorch3d", reason="optional backend, built by hand")

SIZES = [(224, 224), (96, 160), (160, 96)]
_AWAY = 3.0


def heads(head: HeadModel) -> tuple[Tensor, Tensor]:
    """Three turned heads, one of which leaves the image: vertices in [-1, 1] with depth, and faces."""
    generator = torch.Generator().manual_seed(5)
    turns = torch.linalg.qr(torch.randn(3, 3, 3, generator=generator)).Q
    vertices = torch.tensor(head.template) @ turns * torch.tensor([6.0, 8.0, 14.0])[:, None, None]
    return vertices, torch.tensor(head.faces)


def of_pytorch3d(
    vertices: Tensor, faces: Tensor, size: tuple[int, int], cull: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Its triangle per pixel, depth and barycentrics; x left and y up, z > 0, the shorter side from -1 to 1."""
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    height, width = size
    scale = torch.tensor([-max(width / height, 1.0), -max(height / width, 1.0), 1.0])
    meshes = Meshes(vertices * scale + torch.tensor([0, 0, _AWAY]), faces.expand(len(vertices), -1, -1))
    packed, depth, bary, _ = rasterize_meshes(
        meshes, size, faces_per_pixel=1, perspective_correct=False, cull_backfaces=cull
    )
    packed = packed[..., 0]
    offset = torch.arange(len(vertices))[:, None, None] * len(faces)
    return torch.where(packed >= 0, packed - offset, packed), depth[..., 0] - _AWAY, bary[..., 0, :]


def over_a_pixel(vertices: Tensor, faces: Tensor, found: Tensor) -> Tensor:
    """Where a triangle larger than a pixel is seen; PyTorch3D adds 1e-8 to areas, which distorts small triangles."""
    a, b, c = vertices[:, faces][..., :2].unbind(2)
    area = ((b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0]).abs()
    image = torch.arange(len(vertices))[:, None, None].expand_as(found)
    return (found >= 0) & (area[image, found.clamp(min=0)] > 8 / found[0].numel())


@pytest.mark.parametrize("backend", ["native", "pytorch3d"])
@pytest.mark.parametrize("size", SIZES)
def test_same_triangles_depths_and_barycentrics(head: HeadModel, size: tuple[int, int], backend: str) -> None:
    vertices, faces = heads(head)
    ours = rasterize(vertices, faces, size, backend)
    found, depth, bary = of_pytorch3d(vertices, faces, size)
    same = ours.pix_to_face == found
    assert (~same).float().mean() <= 1 / 2000
    kept = same & over_a_pixel(vertices, faces, found)
    assert kept.float().mean() > 0.1
    torch.testing.assert_close(ours.zbuf[kept], depth[kept], atol=1e-3, rtol=0)
    torch.testing.assert_close(ours.bary[kept], bary[kept], atol=1e-3, rtol=0)


def test_the_same_triangles_are_culled(head: HeadModel) -> None:
    vertices, faces = heads(head)
    faces = faces[::2]
    ours = rasterize(vertices, faces, (224, 224), cull_backfaces=True).pix_to_face
    found, _, _ = of_pytorch3d(vertices, faces, (224, 224), cull=True)
    assert (ours != found).float().mean() <= 1 / 2000
    assert (ours != rasterize(vertices, faces, (224, 224)).pix_to_face).float().mean() > 0.01


@pytest.mark.parametrize("backend", ["native", "pytorch3d"])
@pytest.mark.parametrize("size", SIZES)
def test_same_gradients(head: HeadModel, size: tuple[int, int], backend: str) -> None:
    vertices, faces = heads(head)
    ours, theirs = vertices.clone().requires_grad_(), vertices.clone().requires_grad_()
    fragments = rasterize(ours, faces, size, backend)
    found, depth, bary = of_pytorch3d(theirs, faces, size)
    kept = (fragments.pix_to_face == found) & over_a_pixel(vertices, faces, found)
    weights = torch.randn(*found.shape, 4, generator=torch.Generator().manual_seed(1)) * kept[..., None]
    for of_depth, of_bary in ((fragments.zbuf, fragments.bary), (depth, bary)):
        ((of_depth * weights[..., 0])[kept].sum() + (of_bary * weights[..., 1:])[kept].sum()).backward()
    assert theirs.grad is not None
    assert ours.grad is not None
    assert (ours.grad - theirs.grad).norm() < 1e-3 * theirs.grad.norm()
