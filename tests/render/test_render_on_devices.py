"""Cameras, rasterizer, shading and texture over devices and precisions."""

from collections.abc import Callable

import pytest
import torch

from mfnet.head import HeadModel
from mfnet.render import Renderer, rasterize
from mfnet.render.camera import Lens, orthographic_project, pinhole_project
from mfnet.render.shading import shade, spherical_harmonics, vertex_normals
from mfnet.render.texture import complete_texture


@pytest.fixture(scope="module")
def projected(head: HeadModel) -> torch.Tensor:
    return orthographic_project(torch.tensor(head.template)[None], torch.tensor([[7.0, 0.0, -0.02]]))


def test_cameras(same_everywhere: Callable[..., None]) -> None:
    points = 0.1 * torch.randn(2, 9, 3)
    K = torch.tensor([[[100.0, 0, 32], [0, 90, 24], [0, 0, 1]]]).expand(2, -1, -1)
    Rt = torch.cat([torch.eye(3), torch.tensor([[0.0], [0.0], [2.0]])], 1).expand(2, -1, -1)
    same_everywhere(orthographic_project, points, torch.randn(2, 3))
    same_everywhere(lambda p, k, e: pinhole_project(p, k, e, (48, 64)), points, K, Rt)

    def through_lens(given: torch.Tensor, focal: torch.Tensor, principal: torch.Tensor) -> tuple[torch.Tensor, ...]:
        lens, scale = Lens(focal, principal), focal[:, None] * 0 + 9
        seen = lens.project(given, given[:, 0], scale, principal * 0)
        return seen, lens.unproject(seen, scale), lens.toward(seen, scale)

    same_everywhere(through_lens, points, torch.tensor([6.0, 8.0]), torch.randn(2, 2))


def test_the_rasterizer(head: HeadModel, projected: torch.Tensor, same_everywhere: Callable[..., None]) -> None:
    faces = torch.tensor(head.faces)

    def fragments(vertices: torch.Tensor, triangles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frags = rasterize(vertices, triangles, (40, 32))
        # Where rounding picks a neighbour at an edge its barycentrics are other ones; depth is not.
        return frags.pix_to_face, frags.zbuf

    same_everywhere(fragments, projected, faces, tolerance=1e-3)


def test_shading(head: HeadModel, same_everywhere: Callable[..., None]) -> None:
    faces = torch.tensor(head.faces)
    same_everywhere(vertex_normals, torch.tensor(head.template)[None], faces, tolerance=1e-3)
    same_everywhere(spherical_harmonics, torch.nn.functional.normalize(torch.randn(7, 3), dim=-1))
    same_everywhere(shade, torch.rand(2, 5, 3), torch.randn(2, 5, 3), torch.randn(2, 9, 3))


def test_textures(same_everywhere: Callable[..., None]) -> None:
    weights = (torch.rand(1, 2, 1, 16, 16) - 0.4).clamp(0, 1)
    same_everywhere(complete_texture, torch.rand(1, 2, 3, 16, 16), weights)


def test_a_photograph_into_texture_and_back(
    head: HeadModel, projected: torch.Tensor, same_everywhere: Callable[..., None]
) -> None:
    renderer = Renderer(head, 32, 32, n_albedo=4)

    def there_and_back(vertices: torch.Tensor, photograph: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        placed = renderer.to(vertices.device, vertices.dtype)
        view = placed.view(vertices, vertices)
        texture, weight = placed.extract(photograph, view)
        # The sum over the picture, in which a pixel at an edge that another triangle takes does not count.
        return torch.stack([placed.render(texture + placed.albedo(code), view).mean(), weight.mean()])

    same_everywhere(there_and_back, projected, torch.rand(1, 3, 32, 32), torch.randn(1, 4), tolerance=2e-2)
