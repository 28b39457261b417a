from pathlib import Path

import numpy as np
import pytest

from mfnet.errors import UserError
from mfnet.head import HeadModel
from mfnet.head.importers.texture_spaces import load_texture

SIDE, K = 8, 3


@pytest.fixture
def skin(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """RGB mean [R, R, 3] in 0..1 and directions [R, R, 3, K]."""
    return rng.uniform(0.2, 0.8, (SIDE, SIDE, 3)), 0.05 * rng.normal(size=(SIDE, SIDE, 3, K))


def write_template(path: Path, head: HeadModel) -> None:
    lines = [f"v {x} {y} {z}" for x, y, z in head.template]
    lines += [f"vt {u} {v}" for u, v in head.uv_coordinates]
    for place, coordinate in zip(head.faces + 1, head.uv_faces + 1, strict=True):
        lines.append("f " + " ".join(f"{a}/{b}" for a, b in zip(place, coordinate, strict=True)))
    path.write_text("\n".join(lines))


def test_the_space_made_from_the_basel_face_model(tmp_path: Path, head: HeadModel, skin: tuple) -> None:
    """Flat, BGR, 0..1 and without coordinates, which head_template.obj has."""
    mean, directions = skin
    path = tmp_path / "FLAME_albedo_from_BFM.npz"
    np.savez(path, MU=mean[..., ::-1].ravel(), PC=directions[:, :, ::-1].reshape(-1, K))
    with pytest.raises(UserError, match=r"head\.uv: null"):
        load_texture(path, head.faces)
    write_template(tmp_path / "head_template.obj", head)
    found = load_texture(path, head.faces, tmp_path / "head_template.obj")
    np.testing.assert_allclose(found["albedo_mean"], mean, atol=1e-6)
    np.testing.assert_allclose(np.moveaxis(found["albedo_basis"], 0, -1), directions, atol=1e-4)
    np.testing.assert_array_equal(found["uv_faces"], head.uv_faces)
    np.testing.assert_allclose(found["uv_coordinates"], head.uv_coordinates, atol=1e-6)
    with pytest.raises(UserError, match="not those of the head model"):
        load_texture(path, head.faces[::-1], tmp_path / "head_template.obj")


def test_the_linear_albedo_space_is_displayed_to_first_order(tmp_path: Path, head: HeadModel, skin: tuple) -> None:
    mean, directions = skin
    specular = np.full_like(mean, 0.1)
    path = tmp_path / "albedoModel2020_FLAME_albedoPart.npz"
    np.savez(
        path, MU=mean[..., ::-1], PC=directions[:, :, ::-1], specMU=specular, specPC=0 * directions,
        vt=head.uv_coordinates, ft=head.uv_faces,
    )  # fmt: skip
    found = load_texture(path, head.faces)

    def displayed(code: np.ndarray) -> np.ndarray:
        return (0.6 * (mean + specular + directions @ code)) ** (1 / 2.2)

    np.testing.assert_allclose(found["albedo_mean"], displayed(np.zeros(K)), atol=1e-5)
    step = 0.01 * np.eye(K)
    for k in range(K):
        slope = (displayed(step[k]) - displayed(-step[k])) / 0.02
        np.testing.assert_allclose(found["albedo_basis"][k], slope, atol=2e-3)


def test_what_is_no_texture_space_is_one_line(tmp_path: Path, head: HeadModel, skin: tuple) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, colour=skin[0])
    with pytest.raises(UserError, match="holds colour; expected FLAME_texture"):
        load_texture(path, head.faces)
    np.savez(path, mean=skin[0][:, :-1] * 255, tex_dir=skin[1] * 255)
    with pytest.raises(UserError, match="mean and directions have shapes"):
        load_texture(path, head.faces)
    np.savez(path, mean=skin[0] * 255, tex_dir=skin[1] * 255, vt=head.uv_coordinates, ft=head.uv_faces[:5])
    with pytest.raises(UserError, match="coordinates and triangles have shapes"):
        load_texture(path, head.faces)
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="damaged"):
        load_texture(path, head.faces)
