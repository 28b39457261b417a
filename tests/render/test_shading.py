import math

import numpy as np
import torch
from scipy.special import sph_harm_y

from mfnet.render.shading import shade, spherical_harmonics, vertex_normals


def test_ambient_light_of_strength_one_leaves_the_albedo() -> None:
    albedo = torch.rand(2, 5, 3)
    light = torch.zeros(2, 9, 3)
    light[:, 0] = math.sqrt(4 * math.pi)
    normals = torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=-1)
    torch.testing.assert_close(shade(albedo, normals, light), albedo, atol=1e-5, rtol=0)


def test_basis_is_the_real_spherical_harmonics_times_the_cosine_kernel() -> None:
    """Ramamoorthi and Hanrahan (2001): bands weighted by 1, 2/3 and 1/4 of pi, here relative to the constant band."""
    normals = torch.nn.functional.normalize(torch.randn(50, 3, dtype=torch.float64), dim=-1)
    x, y, z = normals.numpy().T
    polar, around = np.arccos(z), np.arctan2(y, x)
    found = spherical_harmonics(normals).numpy()

    def real(degree: int, order: int) -> np.ndarray:
        value = sph_harm_y(degree, abs(order), polar, around)
        if order == 0:
            return value.real
        return math.sqrt(2) * (-1) ** order * (value.real if order > 0 else value.imag)

    order = [(0, 0), (1, 1), (1, -1), (1, 0), (2, -2), (2, 1), (2, -1), (2, 2), (2, 0)]
    kernel = {0: 1.0, 1: 2 * math.pi / 3, 2: math.pi / 4}
    for column, (degree, m) in enumerate(order):
        scale = kernel[degree] if degree else 1.0
        np.testing.assert_allclose(found[:, column], real(degree, m) * scale, atol=2e-6, err_msg=str((degree, m)))


def test_normals_of_a_tetrahedron_point_outwards_with_gradients() -> None:
    vertices = torch.tensor([[[1.0, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]], dtype=torch.float64)
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    normals = vertex_normals(vertices, faces)
    torch.testing.assert_close(normals, torch.nn.functional.normalize(vertices, dim=-1))
    vertices = (vertices + 0.1 * torch.randn_like(vertices)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, faces), (vertices,))
    light = torch.randn(1, 9, 3, dtype=torch.float64, requires_grad=True)
    albedo = torch.rand(1, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, a, s: shade(a, vertex_normals(v, faces), s), (vertices, albedo, light))
