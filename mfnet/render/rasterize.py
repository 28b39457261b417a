"""Which triangle each pixel sees, differentiably and without a compiled extension.

The search for the visible triangle carries no gradient; it runs in a numba kernel on the CPU and as one batch of
tensor operations elsewhere. Barycentrics and depth are then recomputed from the visible triangles' vertices with
ordinary differentiable operations, the same on every device.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from mfnet.errors import UserError

# Twice the area in square pixels: what is thinner has barycentrics that only amplify rounding.
_DEGENERATE = 1e-6
_MOST_PAIRS = 2**22


class Fragments(NamedTuple):
    """What each pixel sees: pix_to_face [B, H, W] int64 (-1 empty), bary [B, H, W, 3], zbuf [B, H, W]."""

    pix_to_face: Tensor
    bary: Tensor
    zbuf: Tensor


def rasterize(
    vertices: Tensor,
    faces: Tensor,
    image_size: tuple[int, int],
    backend: str = "native",
    cull_backfaces: bool = False,
) -> Fragments:
    """Rasterize one mesh topology for a batch of vertex positions.

    Args:
        vertices: [B, V, 3] x right and y down, both in [-1, 1] over the image, pixel (i, j) centred at
            ((2j + 1) / W - 1, (2i + 1) / H - 1); z grows away from the camera, in any unit.
        faces: [F, 3] int64, 0..V-1.
        image_size: (H, W) pixels.
        backend: "native", or "pytorch3d" where that package is installed.
        cull_backfaces: leave out triangles that are clockwise as seen by the camera.

    Returns:
        Fragments; bary and zbuf are differentiable in the vertices, 0 and -1 where nothing is seen. Both are linear on
        the screen, not corrected for perspective. Triangles with a vertex that is not finite are left out. Half
        precision is taken as float32.
    """
    if vertices.dtype in (torch.float16, torch.bfloat16):
        vertices = vertices.float()
    if not len(vertices) or not len(faces):
        pix_to_face = torch.full((len(vertices), *image_size), -1, dtype=torch.int64, device=vertices.device)
        return _differentiable_fragments(vertices, faces, pix_to_face)
    # Beyond its memory the kernel would read whatever lies there.
    assert 0 <= int(faces.min()) <= int(faces.max()) < vertices.shape[1], "faces refer to vertices that are not there"
    if backend == "native":
        search = _search_cpu if vertices.device.type == "cpu" else _search_tensor
    elif backend == "pytorch3d":
        from mfnet.render.pytorch3d_backend import search_pytorch3d as search  # noqa: PLC0415  optional package
    else:
        raise UserError(f"render backend '{backend}' is unknown; expected native or pytorch3d")
    pix_to_face = search(vertices.detach(), faces, image_size, cull_backfaces)
    return _differentiable_fragments(vertices, faces, pix_to_face)


def pixel_centres(image_size: tuple[int, int], like: Tensor) -> Tensor:
    """[H, W, 2] (x, y) of each pixel's centre in [-1, 1]."""
    height, width = image_size
    x = (2 * torch.arange(width, dtype=like.dtype, device=like.device) + 1) / width - 1
    y = (2 * torch.arange(height, dtype=like.dtype, device=like.device) + 1) / height - 1
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)


def _differentiable_fragments(vertices: Tensor, faces: Tensor, pix_to_face: Tensor) -> Fragments:
    batch, height, width = pix_to_face.shape
    covered = (pix_to_face.flatten() >= 0).nonzero()[:, 0]
    face = pix_to_face.flatten()[covered]
    image = covered // (height * width)
    corner_index = faces[face] + image[:, None] * vertices.shape[1]
    corners = vertices.reshape(-1, 3).index_select(0, corner_index.flatten()).view(-1, 3, 3)
    point = pixel_centres((height, width), vertices).view(-1, 2)[covered % (height * width)]

    bary = screen_barycentric(corners[..., :2], point)
    depth = (bary * corners[..., 2]).sum(1)

    full_bary = vertices.new_zeros(batch * height * width, 3).index_copy(0, covered, bary)
    full_depth = vertices.new_full((batch * height * width,), -1.0).index_copy(0, covered, depth)
    return Fragments(pix_to_face, full_bary.view(batch, height, width, 3), full_depth.view(batch, height, width))


def screen_barycentric(corners: Tensor, points: Tensor) -> Tensor:
    """Barycentric coordinates [N, 3] of points [N, 2] in triangles [N, 3, 2] on the screen; outside one is negative."""
    # In double precision, as the search: a sliver's area would vanish in single.
    a, b, c = corners.double().unbind(1)
    point = points.double()
    area = _cross(b - a, c - a)
    bary = torch.stack([_cross(b - point, c - point), _cross(c - point, a - point), _cross(a - point, b - point)], 1)
    return (bary / area[:, None]).to(corners.dtype)


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _search_cpu(vertices: Tensor, faces: Tensor, image_size: tuple[int, int], cull_backfaces: bool) -> Tensor:
    points = np.ascontiguousarray(vertices.numpy())
    pix_to_face = np.empty((len(points), *image_size), np.int64)
    scan = _scan_in_turn if _forked or len(points) == 1 else _scan_in_parallel
    scan(points, np.ascontiguousarray(faces.numpy()), cull_backfaces, pix_to_face)
    return torch.from_numpy(pix_to_face)


_forked = False


def _note_fork() -> None:
    global _forked  # noqa: PLW0603
    _forked = True


# A forked process, such as a DataLoader's worker, would die in the threads that its parent had started.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@numba.njit(parallel=True, cache=True)
def _scan_in_parallel(vertices, faces, cull_backfaces, pix_to_face):  # type: ignore[no-untyped-def]
    for image in numba.prange(len(pix_to_face)):
        _scan(vertices, faces, cull_backfaces, pix_to_face, image)


@numba.njit(cache=True)
def _scan_in_turn(vertices, faces, cull_backfaces, pix_to_face):  # type: ignore[no-untyped-def]
    for image in range(len(pix_to_face)):
        _scan(vertices, faces, cull_backfaces, pix_to_face, image)


@numba.njit(cache=True)
def _scan(vertices, faces, cull_backfaces, pix_to_face, image):  # type: ignore[no-untyped-def]
    """Fill pix_to_face[image] with the nearest triangle per pixel; the first of equally near ones."""
    height, width = pix_to_face.shape[1:]
    depth = np.full((height, width), np.inf)
    pix_to_face[image] = -1
    for face in range(faces.shape[0]):
        ia, ib, ic = faces[face, 0], faces[face, 1], faces[face, 2]
        ax = (np.float64(vertices[image, ia, 0]) + 1.0) * 0.5 * width - 0.5
        ay = (np.float64(vertices[image, ia, 1]) + 1.0) * 0.5 * height - 0.5
        bx = (np.float64(vertices[image, ib, 0]) + 1.0) * 0.5 * width - 0.5
        by = (np.float64(vertices[image, ib, 1]) + 1.0) * 0.5 * height - 0.5
        cx = (np.float64(vertices[image, ic, 0]) + 1.0) * 0.5 * width - 0.5
        cy = (np.float64(vertices[image, ic, 1]) + 1.0) * 0.5 * height - 0.5
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not abs(area) > _DEGENERATE or (cull_backfaces and area > 0):
            continue
        first_row = max(0, int(np.ceil(max(min(ay, by, cy), -1.0))))
        last_row = min(height - 1, int(np.floor(min(max(ay, by, cy), height + 1.0))))
        first_column = max(0, int(np.ceil(max(min(ax, bx, cx), -1.0))))
        last_column = min(width - 1, int(np.floor(min(max(ax, bx, cx), width + 1.0))))
        az, bz, cz = vertices[image, ia, 2], vertices[image, ib, 2], vertices[image, ic, 2]
        for row in range(first_row, last_row + 1):
            for column in range(first_column, last_column + 1):
                wa = ((bx - column) * (cy - row) - (by - row) * (cx - column)) / area
                wb = ((cx - column) * (ay - row) - (cy - row) * (ax - column)) / area
                wc = 1.0 - wa - wb
                if wa >= 0 and wb >= 0 and wc >= 0:
                    z = wa * az + wb * bz + wc * cz
                    if z < depth[row, column]:
                        depth[row, column] = z
                        pix_to_face[image, row, column] = face


def _search_tensor(vertices: Tensor, faces: Tensor, image_size: tuple[int, int], cull_backfaces: bool) -> Tensor:
    """The same search as tensor operations: (triangle, pixel of its box) pairs, a few million at once."""
    height, width = image_size
    scale = torch.tensor([width, height], dtype=torch.float64, device=vertices.device)
    corners = vertices.double()[:, faces].flatten(0, 1)
    xy = (corners[..., :2] + 1) * 0.5 * scale - 0.5
    a, b, c = xy.unbind(1)
    area = _cross(b - a, c - a)
    usable = (area.abs() > _DEGENERATE) & ~(area.gt(0) & cull_backfaces)
    first = xy.amin(1).ceil().clamp(min=0).minimum(scale)
    size = (xy.amax(1).floor().minimum(scale - 1).clamp(min=-1) - first + 1).clamp(min=0)
    # Not a product: a corner that is not finite would survive it.
    size, first = (torch.where(usable[:, None], value, 0).long() for value in (size, first))
    boxes = _Boxes(xy, area, corners[..., 2], first, size)

    empty = torch.iinfo(torch.int64).max
    nearest = torch.full((len(vertices) * height * width,), empty, dtype=torch.int64, device=vertices.device)
    total = size.prod(1).cumsum(0)
    limits = torch.arange(_MOST_PAIRS, int(total[-1]) + _MOST_PAIRS, _MOST_PAIRS, device=total.device)
    begin = 0
    for end in torch.searchsorted(total, limits, right=True).clamp(min=1).tolist():
        triangle, place, depth = _inside(_Boxes(*(part[begin:end] for part in boxes)))
        triangle = triangle + begin
        bits = depth.view(torch.int32).long()
        ordered = torch.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
        image, face = triangle // len(faces), triangle % len(faces)
        pixel = (image * height + place[:, 1]) * width + place[:, 0]
        nearest.scatter_reduce_(0, pixel, (ordered << 32) + face, "amin")
        begin = end
    pix_to_face = torch.where(nearest == empty, -1, nearest & 0xFFFFFFFF)
    return pix_to_face.view(len(vertices), height, width)


class _Boxes(NamedTuple):
    """T triangles in pixels: corners [T, 3, 2], twice the area [T], depths [T, 3], first pixel and size [T, 2]."""

    corners: Tensor
    area: Tensor
    depth: Tensor
    first: Tensor
    size: Tensor


def _inside(boxes: _Boxes) -> tuple[Tensor, Tensor, Tensor]:
    """Triangle [P], column and row [P, 2] and depth [P] of the pixels in the boxes that lie inside their triangle."""
    count = boxes.size.prod(1)
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    rank = torch.arange(len(owner), device=count.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
    across = boxes.size[owner, 0]
    place = boxes.first[owner] + torch.stack([rank % across, rank // across], 1)
    a, b, c = boxes.corners[owner].unbind(1)
    point = place.double()
    weight_a, weight_b = (_cross(u - point, v - point) / boxes.area[owner] for u, v in ((b, c), (c, a)))
    weights = torch.stack([weight_a, weight_b, 1 - weight_a - weight_b], 1)
    depth = (weights * boxes.depth[owner]).sum(1)
    kept = (weights >= 0).all(1) & depth.isfinite()
    return owner[kept], place[kept], depth[kept].float()


def interpolate(fragments: Fragments, corner_values: Tensor) -> Tensor:
    """Attribute at each pixel from values at triangle corners.

    Args:
        fragments: of a batch of B images.
        corner_values: [F, 3, C] shared by the batch or [B, F, 3, C]; F may only be 0 where nothing is seen.

    Returns:
        [B, H, W, C], 0 where nothing is seen; differentiable in values and barycentrics.
    """
    batch, height, width = fragments.pix_to_face.shape
    if not corner_values.shape[-3]:
        return corner_values.new_zeros(batch, height, width, corner_values.shape[-1])
    face = fragments.pix_to_face.clamp(min=0).flatten(1)
    if corner_values.dim() == 3:
        picked = corner_values[face]
    else:
        offset = torch.arange(batch, device=face.device)[:, None] * corner_values.shape[1]
        picked = corner_values.flatten(0, 1).index_select(0, (face + offset).flatten())
        picked = picked.view(batch, height * width, 3, corner_values.shape[-1])
    bary = fragments.bary.flatten(1, 2)[..., None]
    # Written out: torch sums over so short an axis in three times the time.
    total = picked[:, :, 0] * bary[:, :, 0] + picked[:, :, 1] * bary[:, :, 1] + picked[:, :, 2] * bary[:, :, 2]
    return total.unflatten(1, (height, width))
