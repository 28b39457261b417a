"""FLAME's texture spaces: the skin's mean and directions, and where they lie on the mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mfnet.errors import UserError
from mfnet.head.archive import read_npz

_GREY_SIZE = 64
# The display rule of the AlbedoMM authors: (share * (diffuse + specular)) to the power of 1 / gamma.
_ALBEDO_SHARE, _ALBEDO_GAMMA = 0.6, 2.2
_KNOWN = "FLAME_texture.npz, FLAME_albedo_from_BFM.npz or albedoModel2020_FLAME_albedoPart.npz"


def load_texture(path: Path, faces: np.ndarray, uv: str | Path | None = None) -> dict[str, np.ndarray]:
    """A texture space as the four fields of HeadModel that describe the skin, told apart by their keys.

    FLAME_texture.npz (mean, tex_dir, vt, ft; BGR in 0..255), FLAME_albedo_from_BFM.npz (MU, PC; BGR in 0..1, without
    coordinates) or AlbedoMM's albedoModel2020_FLAME_albedoPart.npz (MU, PC, specMU, specPC, vt, ft; linear BGR). Of
    the last, the colour as it is displayed is linearised about the mean and follows the diffuse directions.

    Args:
        path: the .npz.
        faces: [F, 3] the head's triangles.
        uv: head_template.obj, needed where the file has no coordinates.

    Raises:
        UserError: not one of these files, an array has the wrong shape, or coordinates are missing.
    """
    space = read_npz(path, _KNOWN)
    if "mean" in space and "tex_dir" in space:
        mean, basis = space["mean"].astype(np.float32) / 255, space["tex_dir"].astype(np.float32) / 255
    elif "MU" in space and "PC" in space and "specMU" in space:
        mean, basis = _displayed(space["MU"] + space["specMU"], space["PC"])
    elif "MU" in space and "PC" in space:
        mean, basis = _flat(path, space["MU"], space["PC"])
    else:
        raise UserError(f"{path}: holds {', '.join(sorted(space)) or 'nothing'}; expected {_KNOWN}")
    side = len(mean)
    if mean.shape != (side, side, 3) or basis.shape[:3] != mean.shape or basis.ndim != 4:
        raise UserError(f"{path}: mean and directions have shapes {mean.shape} and {basis.shape}, expected "
                        "(R, R, 3) and (R, R, 3, K)")  # fmt: skip
    coordinates, triangles = _coordinates(path, space, len(faces), uv, faces)
    return {
        "albedo_mean": np.ascontiguousarray(mean[..., ::-1]),
        "albedo_basis": np.ascontiguousarray(np.moveaxis(basis, -1, 0)[..., ::-1]).astype(np.float16),
        "uv_coordinates": coordinates,
        "uv_faces": triangles,
    }


def _displayed(linear: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reflectance = np.maximum(_ALBEDO_SHARE * linear, 1e-4)
    slope = _ALBEDO_SHARE / _ALBEDO_GAMMA * reflectance ** (1 / _ALBEDO_GAMMA - 1)
    return (reflectance ** (1 / _ALBEDO_GAMMA)).astype(np.float32), (slope[..., None] * directions).astype(np.float32)


def _flat(path: Path, mean: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    side = round((mean.size / 3) ** 0.5)
    if mean.size != 3 * side * side or directions.ndim != 2 or len(directions) != mean.size:
        raise UserError(f"{path}: MU and PC have shapes {mean.shape} and {directions.shape}, expected (3 R R) and "
                        "(3 R R, K)")  # fmt: skip
    shape = (side, side, 3)
    return mean.reshape(shape).astype(np.float32), directions.reshape(*shape, -1).astype(np.float32)


def _coordinates(
    path: Path, space: dict[str, np.ndarray], n_faces: int, uv: str | Path | None, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if "vt" in space and "ft" in space:
        coordinates, triangles = space["vt"], space["ft"]
    elif uv is not None:
        path = Path(uv)
        coordinates, triangles = _template_coordinates(path, faces)
    else:
        raise UserError(f"head.uv: null; {path} has no texture coordinates, expected head_template.obj for them")
    if coordinates.ndim != 2 or coordinates.shape[1] != 2 or triangles.shape != (n_faces, 3):
        raise UserError(f"{path}: coordinates and triangles have shapes {coordinates.shape} and {triangles.shape}, "
                        f"expected (T, 2) and ({n_faces}, 3)")  # fmt: skip
    if not 0 <= triangles.min() <= triangles.max() < len(coordinates):
        raise UserError(
            f"{path}: a triangle refers to coordinate {triangles.max()}, expected 0..{len(coordinates) - 1}"
        )
    return coordinates.astype(np.float32), triangles.astype(np.int64)


def _template_coordinates(path: Path, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`vt` and the texture half of `f v/vt` of an OBJ whose triangles are the head's."""
    coordinates, corners = [], []
    try:
        with open(path) as stream:
            for line in stream:
                if line.startswith("vt "):
                    coordinates.append(line.split()[1:3])
                elif line.startswith("f "):
                    corners.append([token.split("/")[:2] for token in line.split()[1:]])
        places, index = np.array(coordinates, float), np.array(corners, int) - 1
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable OBJ of triangles v/vt ({error})") from error
    if index.shape != (*faces.shape, 2) or (index[..., 0] != faces).any():
        raise UserError(f"{path}: its triangles are not those of the head model; expected head_template.obj")
    return places, index[..., 1]


def azimuthal_coordinates(template: np.ndarray) -> np.ndarray:
    """Texture coordinates [V, 2] by the angle from straight ahead: the face in the middle, the back at the rim."""
    centred = template - (template.min(0) + template.max(0)) / 2
    angle = np.arccos(np.clip(centred[:, 2] / np.linalg.norm(centred, axis=1), -1, 1)) / np.pi
    around = np.arctan2(centred[:, 1], centred[:, 0])
    return (0.5 + 0.5 * angle[:, None] * np.stack([np.cos(around), np.sin(around)], 1)).astype(np.float32)


def grey_albedo() -> dict[str, np.ndarray]:
    """One grey for all skin, and no directions."""
    return {
        "albedo_mean": np.full((_GREY_SIZE, _GREY_SIZE, 3), 0.6, np.float32),
        "albedo_basis": np.zeros((0, _GREY_SIZE, _GREY_SIZE, 3), np.float16),
    }


def grey_texture(template: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    """One grey for all skin, with the coordinates of `azimuthal_coordinates`."""
    return {
        **grey_albedo(),
        "uv_coordinates": azimuthal_coordinates(template),
        "uv_faces": faces,
    }
