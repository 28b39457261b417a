"""Generated people as AFLW2000-3D: one photograph each, turned up to a profile, and the annotation beside it."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import scipy.io

from mfnet.config import SynthesizeParams
from mfnet.data.aflw2000 import BINS, IMAGE_SIZE, TO_MATLAB
from mfnet.parallel import parallel_map
from mfnet.synthesis.outcome import PEOPLE, of_person
from mfnet.synthesis.person import draw_performance, draw_person, sculptor_of
from mfnet.synthesis.photograph import Photographer, draw_background, draw_camera, draw_light
from mfnet.synthesis.pose import head_rotation

_HEAD_CENTRE = np.array([0.0, -0.010, -0.045])
_BIN_YAWS = ((0.0, 29.0), (31.0, 59.0), (61.0, 88.0))
_PIXELS_PER_METRE = (1100.0, 1700.0)
_JPEG_QUALITY = 95
_MAT_DESCRIPTION = b"MATLAB 5.0 MAT-file, of a generated photograph".ljust(116)
# AFLW's own labels, all of them marked as not visible: nothing here has them.
_AFLW_LABELS = 21
# Of the Basel model that the original's heads are drawn from; a generated head has none.
_BASEL_PARAMETERS = {"Shape_Para": (199, 1), "Exp_Para": (29, 1), "Tex_Para": (199, 1)}
_BASEL_LIGHT = {"Illum_Para": (1, 10), "Color_Para": (1, 7)}


def synthesize_aflw2000(root: Path, head_path: Path, params: SynthesizeParams, seed: int, workers: int | None) -> int:
    """Make the folder at root, of people who are in no other generated set. Returns the number of photographs."""
    root.mkdir(parents=True, exist_ok=True)
    count = params.aflw2000_per_bin * len(BINS)
    work = partial(_photograph, root=root, count=count, head_path=head_path, params=params, seed=seed)
    people = parallel_map(work, list(range(count)), "AFLW2000-3D photographs", workers)
    pd.DataFrame(people).to_csv(root / PEOPLE, index=False, float_format="%.3f")
    return count


def _photograph(
    index: int, root: Path, count: int, head_path: Path, params: SynthesizeParams, seed: int
) -> dict[str, str | float]:
    """One person by scaled orthography, the original's camera: image and annotation. Returns who it is."""
    rng = np.random.default_rng([seed, 4, index])
    sculptor = sculptor_of(head_path)
    person = draw_person(rng, sculptor.head, params.relief_mm, params.deviation_mm)
    vertices = sculptor.sculpt(person, draw_performance(rng, sculptor.head, "any"))
    yaw = rng.uniform(*_BIN_YAWS[index * len(BINS) // count]) * rng.choice([-1, 1])
    pitch, roll = rng.normal(size=2) * (8, 10)
    rotation = head_rotation(yaw, pitch, roll)
    scale, shift = rng.uniform(*_PIXELS_PER_METRE), rng.normal(size=2) * 12

    def place(points: np.ndarray) -> np.ndarray:
        """Pixels, x right, y down, 0 at the edge, and depth away from the camera in the same unit."""
        pixels = (points - _HEAD_CENTRE) @ rotation.T * scale * [1, -1, -1]
        pixels[:, :2] += IMAGE_SIZE / 2 + shift
        return pixels

    projected = place(vertices) * (2 / IMAGE_SIZE) - [1, 1, 0]
    size = (IMAGE_SIZE, IMAGE_SIZE)
    photographer = Photographer(sculptor, person, rng)
    sight = photographer.see(sculptor.normals(vertices @ rotation.T), projected, size)
    picture = sight.lit(draw_light(rng), draw_background(rng, size))
    image = photographer.develop(picture, draw_camera(rng))
    # The original's numbers have gaps too: they are those of the photographs in AFLW.
    stem = f"image{2 * index + 2:05d}"
    cv2.imwrite(str(root / f"{stem}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    landmarks, origin = place(sculptor.fixed_landmarks(vertices)), place(np.zeros((1, 3)))[0]
    content = _annotation(landmarks, (pitch, yaw, roll), origin, scale)
    (root / f"{stem}.mat").write_bytes(_mat_file(content))
    return of_person(stem, person).people[0]


def _mat_file(content: dict[str, np.ndarray]) -> bytes:
    """A .mat file that is the same for the same content: what scipy says in its header is when it was written."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, content, do_compression=True)
    return _MAT_DESCRIPTION + stream.getvalue()[len(_MAT_DESCRIPTION) :]


def _annotation(
    landmarks: np.ndarray, angles: tuple[float, float, float], origin: np.ndarray, scale: float
) -> dict[str, np.ndarray]:
    """What the original's files hold, from landmarks [68, 3] and the model's origin [3] in pixels, degrees of pitch,
    yaw and roll, and pixels per metre."""
    to_matlab = np.array([TO_MATLAB, TO_MATLAB, 0])
    matlab = landmarks * [1, 1, -1] + to_matlab
    # The pose is in a frame of its own, y up from below the image: y = height + 1 - (image's y).
    x, y, z = origin * [1, 1, -1] + to_matlab
    pose = np.array([[*-np.radians(angles), x, IMAGE_SIZE + 1 - y, z, scale]])
    nothing = {name: np.zeros(shape) for name, shape in (_BASEL_PARAMETERS | _BASEL_LIGHT).items()}
    return nothing | {
        "pt3d_68": matlab.T.astype(np.float32),
        "pt2d": np.full((2, _AFLW_LABELS), -1.0),
        "Pose_Para": pose.astype(np.float32),
        "roi": np.array([[1, 1, IMAGE_SIZE, IMAGE_SIZE]], np.int16),
    }
