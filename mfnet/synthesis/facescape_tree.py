"""Generated people as the FaceScape benchmark: wild images in four pose bins, lab images with cameras, scans."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mfnet.config import SynthesizeParams
from mfnet.data.facescape import (
    BINS,
    IMAGE_SIZE,
    LAB_FOCALS,
    N_LAB_VIEWS,
    PUPIL_DISTANCE_MM,
    lab_stem,
    write_obj,
)  # fmt: skip
from mfnet.parallel import parallel_map
from mfnet.synthesis.outcome import Outcome, of_person, write_outcomes
from mfnet.synthesis.person import Sculptor, draw_performance, draw_person, sculptor_of
from mfnet.synthesis.photograph import Camera, Photographer, draw_background, draw_camera, draw_light, write_png
from mfnet.synthesis.pose import TO_OPENCV, head_rotation, seen_yaw

_SUPERSAMPLE = 2
_HEAD_CENTRE = np.array([0.0, -0.010, -0.045])
_LAB_DISTANCES_MM = (1481.48, 740.74, 370.37)
# Yaw and pitch in degrees of the head in each lab view; views 2, 3, 6 and 7 are the diagonals.
_LAB_ANGLES = (
    (0, 0), (30, 0), (21.5, 21.5), (-21.5, 21.5), (0, -30), (0, 30), (21.5, -21.5), (-21.5, -21.5), (-30, 0),
    (60, 0), (-60, 0),
)  # fmt: skip
_BIN_YAWS = ((0.0, 4.8), (6.0, 29.0), (31.0, 56.0), (61.0, 83.0))
# The scan ends behind the ears, above the crown's fringe and below the chin, as FaceScape's do.
_SCAN_BACK_M, _SCAN_BOTTOM_M, _SCAN_TOP_M = -0.055, -0.125, 0.105


def synthesize_facescape(root: Path, head_path: Path, params: SynthesizeParams, seed: int, workers: int | None) -> int:
    """Make the benchmark at root; nobody in it is also in the Multi-PIE tree. Returns the number of images."""
    for folder in ("wild_img", "wild_gt_mesh", "lab_img", "lab_gt_mesh", "lab_cam"):
        (root / "data" / folder).mkdir(parents=True, exist_ok=True)
    predef = root / "code" / "predef"
    predef.mkdir(parents=True, exist_ok=True)
    common: dict[str, Any] = {"root": root, "head_path": head_path, "params": params, "seed": seed}

    n_wild = params.wild_per_bin * len(BINS)
    wild = parallel_map(
        partial(_wild_item, n_wild=n_wild, **common), list(range(n_wild)), "FaceScape wild items", workers
    )
    np.save(predef / "wild_rotations.npy", np.stack([item["rotation"] for item in wild]))
    np.save(predef / "wild_head_centers.npy", np.stack([item["head_center"] for item in wild]))
    np.save(predef / "wild_pupil_scales.npy", np.array([item["pupil_scale"] for item in wild]))
    np.save(predef / "lab_rotations.npy", np.stack([lab_rotation(view) for view in range(N_LAB_VIEWS)]))
    np.save(predef / "lab_head_centers.npy", np.array([[0, 0, z] for z in _LAB_DISTANCES_MM]))

    lab = parallel_map(
        partial(_lab_subject, **common), list(range(params.lab_subjects)), "FaceScape lab subjects", workers
    )
    return len(write_outcomes(root, [item["outcome"] for item in wild] + lab))


def lab_rotation(view: int) -> np.ndarray:
    """Head to camera (OpenCV's axes) of a lab view; view 0 is diag(1, -1, -1)."""
    return TO_OPENCV @ head_rotation(*_LAB_ANGLES[view])


def _scan(sculptor: Sculptor, vertices: np.ndarray) -> np.ndarray:
    """Triangles of the scan: the face and its surroundings, without eyeballs and the mouth's inside."""
    _, y, z = vertices.T
    outside = (z < _SCAN_BACK_M) | (y < _SCAN_BOTTOM_M) | (y > _SCAN_TOP_M)
    excluded = sculptor.region("eyes") | sculptor.region("mouth") | outside
    return sculptor.faces[~excluded[sculptor.faces].any(1)]


def _compact(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    used, index = np.unique(faces, return_inverse=True)
    return vertices[used], index.reshape(faces.shape)


def _write_image(path: Path, photographer: Photographer, picture: np.ndarray, camera: Camera) -> None:
    small = cv2.resize(picture, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
    image = photographer.develop(small, camera)
    write_png(path, image)


def _wild_item(
    index: int, n_wild: int, root: Path, head_path: Path, params: SynthesizeParams, seed: int
) -> dict[str, Any]:
    """One in-the-wild person: image, scan, the item's constants, and what is known of it."""
    rng = np.random.default_rng([seed, 2, index])
    sculptor = sculptor_of(head_path, 1)
    person = draw_person(rng, sculptor.head, params.relief_mm, params.deviation_mm)
    performance = draw_performance(rng, sculptor.head, "any")
    vertices = sculptor.sculpt(person, performance)

    low, high = _BIN_YAWS[index * len(BINS) // n_wild]
    yaw = rng.uniform(low, high) * rng.choice([-1, 1])
    steady = 0.15 if high < 5 else 1.0
    rotation = head_rotation(yaw, rng.normal() * 6 * steady, rng.normal() * 6 * steady)
    scale_mm = rng.uniform(115, 165)
    center = np.array([*rng.normal(size=2) * 0.05, -10.0])

    def place(points: np.ndarray) -> np.ndarray:
        return (points - _HEAD_CENTRE) @ rotation.T * (1000 / scale_mm) + center

    side = IMAGE_SIZE * _SUPERSAMPLE
    placed = place(vertices)
    photographer = Photographer(sculptor, person, rng)
    sight = photographer.see(sculptor.normals(placed), placed * [1, -1, -1], (side, side))
    stem = f"{index:03d}"
    picture = sight.lit(draw_light(rng), draw_background(rng, (side, side)))
    _write_image(root / f"data/wild_img/{stem}.png", photographer, picture, draw_camera(rng))
    write_obj(root / f"data/wild_gt_mesh/{stem}.obj", *_compact(placed, _scan(sculptor, vertices)))
    turned = seen_yaw(rotation)
    pixels = (place(sculptor.landmarks(vertices, turned))[:, :2] * [1, -1] + 1) * IMAGE_SIZE / 2
    outcome, errs = of_person(f"wild {stem}", person), np.random.default_rng([seed, 6, index])
    outcome.add(f"data/wild_img/{stem}.png", pixels, turned, errs, params.landmark_error)
    return {"rotation": rotation, "head_center": center, "pupil_scale": scale_mm, "outcome": outcome}


def _lab_subject(subject: int, root: Path, head_path: Path, params: SynthesizeParams, seed: int) -> Outcome:
    """One lab person from every camera."""
    rng = np.random.default_rng([seed, 3, subject])
    sculptor = sculptor_of(head_path, 1)
    person = draw_person(rng, sculptor.head, params.relief_mm, params.deviation_mm)
    vertices = sculptor.sculpt(person, draw_performance(rng, sculptor.head, "neutral"))
    photographer, camera = Photographer(sculptor, person, rng), draw_camera(rng, studio=True)
    light, normals = draw_light(rng), sculptor.normals(vertices)
    outcome, errs = of_person(f"lab {subject:02d}", person), np.random.default_rng([seed, 7, subject])
    world = (vertices - _HEAD_CENTRE) * (1000 / PUPIL_DISTANCE_MM)
    write_obj(root / f"data/lab_gt_mesh/{subject:02d}.obj", *_compact(world, _scan(sculptor, vertices)))

    side = IMAGE_SIZE * _SUPERSAMPLE
    for focal, pixels_focal in enumerate(LAB_FOCALS):
        for view in range(N_LAB_VIEWS):
            rotation = lab_rotation(view)
            translation = np.array([0, 0, _LAB_DISTANCES_MM[focal] / PUPIL_DISTANCE_MM])
            K = np.array([[pixels_focal, 0, IMAGE_SIZE / 2], [0, pixels_focal, IMAGE_SIZE / 2], [0, 0, 1.0]])

            def project(points: np.ndarray, rotation=rotation, translation=translation, K=K) -> np.ndarray:  # type: ignore[no-untyped-def]
                camera_points = points @ rotation.T + translation
                pixels = camera_points @ K.T
                return np.column_stack([pixels[:, :2] / pixels[:, 2:], camera_points[:, 2]])

            projected = project(world)
            projected[:, :2] = projected[:, :2] * 2 / IMAGE_SIZE - 1
            sight = photographer.see(normals, projected, (side, side))
            stem = lab_stem(subject, focal, view)
            picture = sight.lit(light, draw_background(rng, (side, side)))
            _write_image(root / f"data/lab_img/{stem}.png", photographer, picture, camera)
            Rt = np.column_stack([rotation, translation])
            (root / f"data/lab_cam/{stem}.json").write_text(json.dumps([K.tolist(), Rt.tolist()]))
            turned = seen_yaw(TO_OPENCV @ rotation)
            pixels = project(sculptor.landmarks(world, turned))[:, :2]
            outcome.add(f"data/lab_img/{stem}.png", pixels, turned, errs, params.landmark_error)
    return outcome
