import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mfnet.errors import UserError
from mfnet.head import HeadModel
from mfnet.render.rasterize import _search_cpu, _search_tensor, interpolate, rasterize

installed = pytest.mark.skipif(find_spec("pytorch3d") is None, reason="pytorch3d is optional, built by hand")
every_backend = pytest.mark.parametrize("backend", ["native", pytest.param("pytorch3d", marks=installed)])


def soup(seed: int, triangles: int = 30, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(batch, 3 * triangles, 3, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    return vertices, torch.arange(3 * triangles).view(-1, 3)


def reference(vertices: np.ndarray, faces: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel against every triangle, by solving for the barycentrics."""
    found, depth = np.full((height, width), -1), np.full((height, width), np.inf)
    for i in range(height):
        for j in range(width):
            point = np.array([(2 * j + 1) / width - 1, (2 * i + 1) / height - 1, 1])
            for index, face in enumerate(faces):
                corners = vertices[face]
                matrix = np.vstack([corners[:, :2].T, np.ones(3)])
                weights = np.linalg.solve(matrix, point)
                if weights.min() >= 0 and weights @ corners[:, 2] < depth[i, j]:
                    found[i, j], depth[i, j] = index, weights @ corners[:, 2]
    return found, depth


@every_backend
def test_agrees_with_solving_every_pixel(backend: str) -> None:
    vertices, faces = soup(0)
    fragments = rasterize(vertices, faces, (24, 32), backend)
    for image in range(2):
        found, depth = reference(vertices[image].numpy(), faces.numpy(), 24, 32)
        np.testing.assert_array_equal(fragments.pix_to_face[image].numpy(), found)
        seen = found >= 0
        np.testing.assert_allclose(fragments.zbuf[image].numpy()[seen], depth[seen], atol=1e-9)
        assert (fragments.zbuf[image].numpy()[~seen] == -1).all()
        assert (fragments.bary[image].numpy()[~seen] == 0).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([(16, 16), (9, 31), (40, 8)]))
def test_kernel_and_tensor_search_see_the_same_triangles(seed: int, cull: bool, size: tuple[int, int]) -> None:
    vertices, faces = soup(seed)
    kernel, tensor = _search_cpu(vertices, faces, size, cull), _search_tensor(vertices, faces, size, cull)
    assert torch.equal(kernel, tensor)


@pytest.mark.parametrize("most", [1, 40, 5000])
def test_pairs_taken_in_small_parts_find_the_same(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    vertices, faces = soup(7)
    at_once = _search_tensor(vertices, faces, (20, 20), False)
    monkeypatch.setattr(import_module("mfnet.render.rasterize"), "_MOST_PAIRS", most)
    assert torch.equal(_search_tensor(vertices, faces, (20, 20), False), at_once)
    assert (_search_tensor(vertices + 9, faces, (20, 20), False) == -1).all()


def test_both_searches_agree_on_a_head(head: HeadModel) -> None:
    vertices = torch.tensor(head.template)[None] * torch.tensor([8.0, -8.0, -8.0])
    faces = torch.tensor(head.faces)
    kernel, tensor = (search(vertices, faces, (128, 128), False) for search in (_search_cpu, _search_tensor))
    assert (kernel != tensor).float().mean() < 5e-4
    assert (kernel >= 0).float().mean() > 0.3


@every_backend
def test_nearer_triangle_wins_and_culling_removes_the_clockwise_one(backend: str) -> None:
    square = torch.tensor([[-1.0, -1, 2], [3, -1, 2], [-1, 3, 2], [-1, -1, 1], [-1, 3, 1], [3, -1, 1]])[None]
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert (rasterize(square, faces, (8, 8), backend).pix_to_face == 1).all()
    # On a screen with y down, (0, 1, 2) runs clockwise and (3, 4, 5) counter-clockwise for the viewer.
    assert (rasterize(square, faces[:1], (8, 8), backend, cull_backfaces=True).pix_to_face == -1).all()
    assert (rasterize(square, faces[1:], (8, 8), backend, cull_backfaces=True).pix_to_face == 0).all()


@every_backend
def test_gradients_agree_with_finite_differences(backend: str) -> None:
    vertices, faces = soup(3, triangles=4, batch=1)
    vertices.requires_grad_()
    values = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)

    def picture(points: torch.Tensor, corner_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fragments = rasterize(points, faces, (6, 6), backend)
        return fragments.bary, fragments.zbuf, interpolate(fragments, corner_values)

    assert torch.autograd.gradcheck(picture, (vertices, values), eps=1e-7, atol=1e-5)


def test_vertices_far_outside_and_not_finite_are_harmless() -> None:
    vertices, faces = soup(1)
    vertices[0, 0] = 1e12
    vertices[1, 0, 0] = float("nan")
    vertices[1, 3, 2] = float("nan")
    vertices[1, 6, 2] = float("inf")
    fragments = rasterize(vertices, faces, (16, 16))
    assert torch.isfinite(fragments.zbuf[1]).all()
    assert torch.equal(fragments.pix_to_face, _search_tensor(vertices, faces, (16, 16), False))


def test_slivers_have_finite_barycentrics_and_gradients() -> None:
    """Thin beyond single precision: left out, or exact, but never not a number."""
    for height in (1e-3, 1e-6, 1e-9, 0.0):
        vertices = torch.tensor([[[-0.875, -0.875, 0], [0.875, 0.875, 1], [0, height, 0.5]]], requires_grad=True)
        fragments = rasterize(vertices, torch.tensor([[0, 1, 2]]), (8, 8))
        assert torch.isfinite(fragments.bary).all()
        (fragments.bary.sum() + fragments.zbuf.sum()).backward()
        assert vertices.grad is not None
        assert torch.isfinite(vertices.grad).all()
    assert (rasterize(vertices, torch.tensor([[0, 1, 2]]), (8, 8)).pix_to_face == -1).all()


@pytest.mark.parametrize("search", ["_search_cpu", "_search_tensor"])
@pytest.mark.parametrize(("batch", "triangles"), [(0, 3), (2, 0)])
def test_nothing_to_draw_is_an_empty_picture(
    monkeypatch: pytest.MonkeyPatch, search: str, batch: int, triangles: int
) -> None:
    module = import_module("mfnet.render.rasterize")
    monkeypatch.setattr(module, "_search_cpu", getattr(module, search))
    faces = torch.zeros(triangles, 3, dtype=torch.int64)
    fragments = rasterize(torch.rand(batch, 4, 3), faces, (5, 6))
    assert fragments.pix_to_face.shape == (batch, 5, 6)
    assert (fragments.pix_to_face == -1).all()
    assert interpolate(fragments, torch.rand(triangles, 3, 2)).shape == (batch, 5, 6, 2)


@pytest.mark.parametrize("corner", [-1, 9, 10**9])
def test_faces_beyond_the_vertices_are_refused(corner: int) -> None:
    with pytest.raises(AssertionError, match="not there"):
        rasterize(torch.rand(2, 9, 3), torch.tensor([[0, 1, corner]]), (8, 8))


def test_half_precision_is_taken_as_single() -> None:
    vertices, faces = soup(2)
    half = vertices.to(torch.bfloat16)
    assert torch.equal(rasterize(half, faces, (9, 9)).bary, rasterize(half.float(), faces, (9, 9)).bary)


def test_a_forked_process_rasterizes_too() -> None:
    """Its parent's threads are not there any more, which GNU's OpenMP answers by ending the process."""
    code = (
        "import multiprocessing, torch; from mfnet.render import rasterize\n"
        "def draw(_=0): return rasterize(torch.rand(2, 9, 3) * 2 - 1, torch.arange(9).view(3, 3), (8, 8)).bary.sum()\n"
        "draw()\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool: print(pool.map_async(draw, [1]).get(60)[0] >= 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert "True" in done.stdout, done.stderr[-500:]


def test_unknown_backend_is_named() -> None:
    vertices, faces = soup(0)
    with pytest.raises(UserError, match="'opengl' is unknown"):
        rasterize(vertices, faces, (8, 8), backend="opengl")
