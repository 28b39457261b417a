"""Equation 2: vertex normals and spherical-harmonic light."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

# Order 1, x, y, z, xy, xz, yz, x^2 - y^2, 3 z^2 - 1, each constant with the clamped cosine's factor folded in.
SPHERICAL_HARMONIC_CONSTANTS = (
    0.282095, 1.023327, 1.023327, 1.023327, 0.858086, 0.858086, 0.858086, 0.429043, 0.247708,
)  # fmt: skip


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit normals [B, V, 3] of meshes [B, V, 3] with triangles [F, 3]."""
    corners = vertices[:, faces.flatten()].unflatten(1, (-1, 3))
    face_normals = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(1, faces[:, corner], face_normals)
    return normalize(total, dim=-1)


def spherical_harmonics(normals: Tensor) -> Tensor:
    """The nine basis functions H_k of equation 2 at unit normals, [..., 3] to [..., 9]."""
    x, y, z = normals.unbind(-1)
    terms = [torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1]
    return torch.stack(terms, -1) * normals.new_tensor(SPHERICAL_HARMONIC_CONSTANTS)


def shade(albedo: Tensor, normals: Tensor, light: Tensor) -> Tensor:
    """Equation 2: B = A * sum_k l_k H_k(N).

    Args:
        albedo: [B, ..., 3] RGB in [0, 1].
        normals: [B, ..., 3] unit, in the frame the light is given in.
        light: [B, 9, 3] coefficients per band and channel; white light of strength 1 is 3.5449 in band 0.

    Returns:
        [B, ..., 3], not clamped.
    """
    basis = spherical_harmonics(normals)
    return albedo * (basis.flatten(1, -2) @ light).view_as(albedo)
