"""Reconstructions as meshes in the benchmark's frames, by the rules of the benchmark's loaders."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mfnet.data.facescape import IMAGE_SIZE, LAB_FOCALS, PUPIL_DISTANCE_MM, LabItem, WildItem
from mfnet.head import HeadModel
from mfnet.render.camera import Crop

_WILD_MEAN_DEPTH = -2.0
_LAB_HEIGHT = 3.0


class Part(NamedTuple):
    """The piece of a head that is handed in: its vertices [P] among the head's, and its triangles [F, 3] of those."""

    vertices: np.ndarray
    faces: np.ndarray

    @staticmethod
    def of(head: HeadModel, name: str) -> Part:
        """All of the "head", or only its "face" with eyes and mouth, as methods with a model of the face hand in."""
        kept = np.ones(len(head.template), bool)
        if name == "face":
            kept = np.logical_or.reduce([head.regions[region] for region in ("face", "eyes", "mouth")])
        faces = head.faces[kept[head.faces].all(1)]
        vertices, renumbered = np.unique(faces, return_inverse=True)
        return Part(vertices, renumbered.reshape(faces.shape))


def submitted(item: WildItem | LabItem, cube: np.ndarray) -> np.ndarray:
    """Vertices [V, 3] of a scaled orthographic method in the frame in which the benchmark takes predictions."""
    return wild_mesh(cube) if isinstance(item, WildItem) else lab_mesh(cube, item.focal)


def image_cube(projected: np.ndarray, crop: Crop) -> np.ndarray:
    """Vertices of a crop in the cube of its photograph.

    Args:
        projected: [V, 3] x right, y down in the crop's [-1, 1], z away from the camera in the same unit.
        crop: of a photograph of 256 x 256.

    Returns:
        [V, 3] x right, y up, z towards the viewer; the photograph is [-1, 1]^2, depth relative.
    """
    half_photograph = IMAGE_SIZE / 2
    scale = crop.side / 2 / half_photograph
    centre = np.array([crop.centre_x / half_photograph - 1, 1 - crop.centre_y / half_photograph, 0])
    return np.asarray(projected, np.float64) * [scale, -scale, -scale] + centre


def wild_mesh(cube: np.ndarray) -> np.ndarray:
    """An orthographic method's prediction for the wild set: depth shifted to a mean of -2."""
    return cube - [0, 0, cube[:, 2].mean() - _WILD_MEAN_DEPTH]


def lab_mesh(cube: np.ndarray, focal: int) -> np.ndarray:
    """An orthographic method's prediction for the lab set: OpenCV's axes, at depth f / 128, 3 units high.

    A face is about that high; a head with its neck is half as high again, so that it comes to lie nearer to the camera,
    and the evaluator's one step of depth alignment leaves some millimetres of that.

    Args:
        cube: [V, 3] as from `image_cube`.
        focal: 0, 1 or 2 for 1200, 600 and 300 pixels.
    """
    camera = cube * [1, -1, -1]
    camera[:, 2] += LAB_FOCALS[focal] / (IMAGE_SIZE / 2) - camera[:, 2].mean()
    return three_units_high(camera)


def perspective_mesh(metres: np.ndarray) -> np.ndarray:
    """A prediction for the lab set of a method that knows the focal length, and so how far away its head is.

    Args:
        metres: [V, 3] in the frame of the photograph's camera, OpenCV's axes.
    """
    return np.asarray(metres, np.float64) * (1000 / PUPIL_DISTANCE_MM)


def three_units_high(camera: np.ndarray) -> np.ndarray:
    """A lab prediction [V, 3] scaled about the camera, as FaceScape's loaders do, whose methods do not know a size."""
    return camera * (_LAB_HEIGHT / np.ptp(camera[:, 1]))
