"""Reconstructions as meshes in the benchmark's frames, by the benchmark's rules for orthographic methods."""

from __future__ import annotations

import numpy as np

from mfnet.data.facescape import IMAGE_SIZE, LAB_FOCALS
from mfnet.render.camera import Crop

_WILD_MEAN_DEPTH = -2.0
_LAB_HEIGHT = 3.0


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

    Args:
        cube: [V, 3] as from `image_cube`.
        focal: 0, 1 or 2 for 1200, 600 and 300 pixels.
    """
    camera = cube * [1, -1, -1]
    camera[:, 2] += LAB_FOCALS[focal] / (IMAGE_SIZE / 2) - camera[:, 2].mean()
    return camera * (_LAB_HEIGHT / np.ptp(camera[:, 1]))
