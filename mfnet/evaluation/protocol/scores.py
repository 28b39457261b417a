"""CD, MNE and CR of the FaceScape single-view benchmark, with its oddities.

With `strict` three of them are left out: the prediction's depth is aligned until it moves no more, not in one step; MNE
is the angle between the normals themselves; and equal normals are an angle of nothing, not a failure.

Both meshes are brought to millimetres and a common depth, turned into the head's own coordinates and mapped onto a
cylinder around it, 256 x 256; everything is judged on those maps. Depths are exact at pixel centres, where the official
evaluator has those of an OpenGL renderer, on Mesa's driver an eighth of a pixel beside and three eighths below the
centre, of 24 bits. Zhu et al., "FaceScape: 3D Facial Dataset and Benchmark for Single-View 3D Face Reconstruction";
float64 throughout.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mfnet.data.facescape import PUPIL_DISTANCE_MM
from mfnet.evaluation.protocol.closest import distances_to_grid
from mfnet.evaluation.protocol.maps import CylinderMap, N, cylinder_map, orthographic_depth, pinhole_depth

_STEP_MM = 15.0
_MOST_STEPS, _ALIGNED_MM = 30, 0.01
_FAILED = float("nan")


class Mesh(NamedTuple):
    """A triangle mesh: vertices [V, 3] float64, faces [F, 3] int64, counter-clockwise from outside."""

    vertices: np.ndarray
    faces: np.ndarray


class Score(NamedTuple):
    """One item's metrics; NaN where the benchmark's evaluator gives none or stops."""

    cd_mm: float
    mne_rad: float
    completeness: float


METRICS = Score._fields


class Canonical(NamedTuple):
    """Ground truth and aligned prediction in the head's coordinates, millimetres."""

    truth: Mesh
    prediction: Mesh


def score_wild(
    gt: Mesh, pred: Mesh, pupil_scale: float, rotation: np.ndarray, head_center: np.ndarray, strict: bool = False
) -> Score:
    """Score an in-the-wild item.

    Args:
        gt, pred: in the normalised image cube (x right, y up, z towards the viewer), the image being [-1, 1]^2.
        pupil_scale: millimetres per unit.
        rotation: [3, 3] head to camera.
        head_center: [3] normalised.
        strict: without the benchmark's oddities.
    """
    return score_canonical(align_wild(gt, pred, pupil_scale, rotation, head_center), strict)


def score_lab(
    gt: Mesh, pred: Mesh, K: np.ndarray, Rt: np.ndarray, rotation: np.ndarray, head_center: np.ndarray,
    strict: bool = False,
) -> Score:  # fmt: skip
    """Score a lab item.

    Args:
        gt: world space, pupil distances.
        pred: OpenCV camera space, pupil distances.
        K: [3, 3] pixels. Rt: [3, 4] world to camera, pupil distances.
        rotation: [3, 3] head to camera.
        head_center: [3] millimetres in camera space.
        strict: without the benchmark's oddities.
    """
    canonical = align_lab(gt, pred, K, Rt, rotation, head_center, strict)
    return Score(_FAILED, _FAILED, _FAILED) if canonical is None else score_canonical(canonical, strict)


def align_wild(gt: Mesh, pred: Mesh, pupil_scale: float, rotation: np.ndarray, head_center: np.ndarray) -> Canonical:
    """Millimetres, then the prediction's depth shifted by the median difference; see `score_wild`."""
    truth, prediction = np.asarray(gt.vertices) * pupil_scale, np.asarray(pred.vertices) * pupil_scale
    depth_truth = orthographic_depth(truth, gt.faces, pupil_scale)
    shift = _median_difference(depth_truth, orthographic_depth(prediction, pred.faces, pupil_scale))
    prediction = prediction - [0.0, 0.0, shift]
    center = np.asarray(head_center) * pupil_scale
    return _canonical(Mesh(truth, gt.faces), Mesh(prediction, pred.faces), rotation, center)


def align_lab(
    gt: Mesh, pred: Mesh, K: np.ndarray, Rt: np.ndarray, rotation: np.ndarray, head_center: np.ndarray,
    strict: bool = False,
) -> Canonical | None:  # fmt: skip
    """Millimetres, then the prediction scaled about the camera to the truth's depth; None where they do not meet.

    The benchmark takes one step, which leaves a rest where the prediction lies far from the truth's depth; `strict`
    goes on until a step is less than a hundredth of a millimetre, thirty times at most.
    """
    truth = np.asarray(gt.vertices) * PUPIL_DISTANCE_MM @ Rt[:, :3].T + Rt[:, 3] * PUPIL_DISTANCE_MM
    prediction = np.asarray(pred.vertices) * PUPIL_DISTANCE_MM
    depth_truth = pinhole_depth(truth, gt.faces, K)
    for _ in range(_MOST_STEPS if strict else 1):
        depth_prediction = pinhole_depth(prediction, pred.faces, K)
        both = (depth_truth != 0) & (depth_prediction != 0)
        if not both.any():
            return None
        shift, mean_depth = _median_difference(depth_truth, depth_prediction), depth_truth[both].mean()
        prediction = prediction * (mean_depth / (mean_depth - shift))
        if abs(shift) < _ALIGNED_MM:
            break
    return _canonical(Mesh(truth, gt.faces), Mesh(prediction, pred.faces), rotation, np.asarray(head_center))


def _median_difference(depth_truth: np.ndarray, depth_prediction: np.ndarray) -> float:
    both = (depth_truth != 0) & (depth_prediction != 0)
    return float(np.median(depth_truth[both] - depth_prediction[both])) if both.any() else 0.0


def _canonical(truth: Mesh, prediction: Mesh, rotation: np.ndarray, center: np.ndarray) -> Canonical:
    """From millimetres in the camera's frame, where the head is turned by a rotation and its centre lies."""
    turned = (
        Mesh((mesh.vertices - center) @ rotation, np.asarray(mesh.faces, np.int64)) for mesh in (truth, prediction)
    )
    return Canonical(*turned)


def score_canonical(canonical: Canonical, strict: bool = False) -> Score:
    """CD, MNE and CR of aligned meshes in the head's coordinates."""
    truth, prediction = cylinder_map(*canonical.truth), cylinder_map(*canonical.prediction)
    both = (truth.radius != 0) & (prediction.radius != 0)
    covered = np.count_nonzero(truth.radius)
    completeness = np.count_nonzero(both) / covered if covered else _FAILED
    if not both.any():
        return Score(_FAILED, _FAILED, completeness)
    error = chamfer_distance(np.where(both, truth.radius, 0), np.where(both, prediction.radius, 0))
    return Score(error, _mean_normal_error(canonical, truth, prediction, both, strict), completeness)


def chamfer_distance(truth: np.ndarray, prediction: np.ndarray) -> float:
    """CD of two cylinder maps [256, 256] (mm, 0 = empty): mean distance of either's vertices to the other's surface.

    NaN where the official evaluator stops: no surface, or triangles that leave the map.
    """
    grids = [surface_grid(radius) for radius in (truth, prediction)]
    if any(grid is None for grid in grids):
        return _FAILED
    (points_t, valid_t), (points_p, valid_p) = grids  # type: ignore[misc]
    distances = [
        distances_to_grid(points_t, used_vertices(valid_t), points_p, valid_p),
        distances_to_grid(points_p, used_vertices(valid_p), points_t, valid_t),
    ]
    return float(np.concatenate(distances).mean())


def surface_grid(radius: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The points of a cylinder map [N*N, 3] and which pixels carry two triangles [N, N]; None if there is no mesh.

    A pixel is valid where its radius differs by less than 15 mm from its right, lower and lower right neighbours
    (wrapping around). Its triangles use flat indices k, k + 1, k + 256 and k + 257, which do not wrap; where they
    would leave the map the official evaluator stops.
    """
    valid = continuous(radius)
    if not valid.any() or valid[N - 1].any() or valid[N - 2, N - 1]:
        return None
    return map_points(radius), valid


def continuous(radius: np.ndarray) -> np.ndarray:
    """Pixels [N, N] of a cylinder map whose right, lower and lower right neighbours are within 15 mm of them."""
    valid = radius != 0
    for axes in ((0,), (1,), (0, 1)):
        neighbour = np.roll(radius, [-1] * len(axes), axes)
        valid &= np.abs(radius - neighbour) < _STEP_MM
    return valid


def map_points(radius: np.ndarray) -> np.ndarray:
    """The points [N*N, 3] of a cylinder map, millimetres in the head's coordinates."""
    angle = 2 * np.pi * np.arange(N) / (N - 1)
    height = 150 - 300 * np.arange(N) / (N - 1)
    points = np.stack([-radius * np.sin(angle), np.repeat(height[:, None], N, 1), -radius * np.cos(angle)], -1)
    return points.reshape(-1, 3)


def used_vertices(valid: np.ndarray) -> np.ndarray:
    """Flat indices of the pixels that some triangle of the valid pixels uses."""
    k = np.flatnonzero(valid)
    used = np.zeros(N * N, bool)
    for offset in (0, 1, N, N + 1):
        used[k + offset] = True
    return np.flatnonzero(used)


def _mean_normal_error(
    canonical: Canonical, truth: CylinderMap, prediction: CylinderMap, both: np.ndarray, strict: bool
) -> float:
    """MNE: angle between face normals, for the benchmark after adding one to every component, and unclipped."""
    (first, has_first), (second, has_second) = (
        _unit_normals(mesh, of_mesh.triangle[both])
        for mesh, of_mesh in ((canonical.truth, truth), (canonical.prediction, prediction))
    )
    usable = has_first & has_second
    if strict:
        cosine = (first[usable] * second[usable]).sum(1).clip(-1, 1)
    else:
        moved = [normal[usable] + 1 for normal in (first, second)]
        one, other = (normal / np.linalg.norm(normal, axis=1, keepdims=True) for normal in moved)
        cosine = (one * other).sum(1)
    with np.errstate(invalid="ignore"):
        angle = np.arccos(cosine)
    return float(angle.mean()) if len(angle) else math.nan


def _unit_normals(mesh: Mesh, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals [N, 3] of some triangles, and whether they have one, [N] bool."""
    corners = mesh.vertices[mesh.faces[triangles]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.divide(normal, length, out=np.zeros_like(normal), where=length > 0), length[:, 0] > 0
