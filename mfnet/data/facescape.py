"""The FaceScape benchmark's files: names, cameras, the constants in `code/predef`, meshes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mfnet.errors import UserError

PUPIL_DISTANCE_MM = (64.0 + 61.7) / 2
IMAGE_SIZE = 256
LAB_FOCALS = (1200, 600, 300)
N_LAB_VIEWS = 11
BINS = ("0-5", "5-30", "30-60", "60-90")


@dataclass(frozen=True)
class WildItem:
    """One in-the-wild image: mesh and image share the orthographic cube [-1, 1]."""

    index: int
    stem: str
    bin: str
    image: Path
    mesh: Path
    rotation: np.ndarray
    head_center: np.ndarray
    pupil_scale: float

    @property
    def angle(self) -> float:
        """Degrees between where the face looks and where the camera is."""
        return float(np.degrees(np.arccos(np.clip(self.rotation[2, 2], -1, 1))))


@dataclass(frozen=True)
class LabItem:
    """One lab image: mesh in world space and pupil distances, pinhole camera."""

    index: int
    stem: str
    subject: int
    focal: int
    view: int
    image: Path
    mesh: Path
    K: np.ndarray
    Rt: np.ndarray
    rotation: np.ndarray
    head_center: np.ndarray

    @property
    def angle(self) -> float:
        """Degrees between where the face looks and where the camera is; its z axis points away from it."""
        return float(np.degrees(np.arccos(np.clip(-self.rotation[2, 2], -1, 1))))


def lab_stem(subject: int, focal: int, view: int) -> str:
    """File stem of a lab item; focal is 0, 1, 2 for 1200, 600, 300 pixels."""
    return f"{subject:02d}_{focal:01d}_{view:02d}"


class Benchmark:
    """The unpacked benchmark: `<root>/data/...` and `<root>/code/predef/...`.

    Raises:
        UserError: a folder or one of the five constant arrays is missing or of the wrong shape, or there is no
            item at all.
    """

    def __init__(self, root: Path) -> None:
        if not (root / "data").is_dir():
            raise UserError(f"{root} has no folder data/; expected FaceScape's benchmark folder")
        self.root = root
        stems = sorted(path.stem for path in (root / "data" / "wild_gt_mesh").glob("*.obj"))
        subjects = sorted(path.stem for path in (root / "data" / "lab_gt_mesh").glob("*.obj"))
        if not stems or not subjects:
            raise UserError(f"no meshes in {root}/data/wild_gt_mesh or lab_gt_mesh; expected *.obj")
        n = len(stems)
        self._wild_rotations = self._constant("wild_rotations", (n, 3, 3))
        self._wild_centers = self._constant("wild_head_centers", (n, 3))
        self._wild_scales = self._constant("wild_pupil_scales", (n,))
        self._lab_rotations = self._constant("lab_rotations", (N_LAB_VIEWS, 3, 3))
        self._lab_centers = self._constant("lab_head_centers", (len(LAB_FOCALS), 3))
        self._stems, self._subjects = stems, subjects

    def _constant(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path = self.root / "code" / "predef" / f"{name}.npy"
        if not path.is_file():
            raise UserError(f"{path} is missing; expected one of the benchmark's five constants")
        array = np.load(path)
        if array.shape != shape:
            raise UserError(f"{path} has shape {array.shape}, expected {shape}")
        return array.astype(np.float64)

    def wild(self) -> list[WildItem]:
        """The in-the-wild items; the four pose bins are equal consecutive blocks, 100 each in the original."""
        data = self.root / "data"
        return [
            WildItem(
                index, stem, BINS[index * len(BINS) // len(self._stems)], data / "wild_img" / f"{stem}.png",
                data / "wild_gt_mesh" / f"{stem}.obj", self._wild_rotations[index], self._wild_centers[index],
                float(self._wild_scales[index]),
            )
            for index, stem in enumerate(self._stems)
        ]  # fmt: skip

    def lab(self) -> list[LabItem]:
        """The lab items: subjects x three focal lengths x eleven views, in the benchmark's order."""
        return [
            self._lab_item(order, subject, focal, view)
            for order, subject in enumerate(self._subjects)
            for focal in range(len(LAB_FOCALS))
            for view in range(N_LAB_VIEWS)
        ]

    def _lab_item(self, order: int, subject: str, focal: int, view: int) -> LabItem:
        data = self.root / "data"
        stem = lab_stem(int(subject), focal, view)
        camera = data / "lab_cam" / f"{stem}.json"
        try:
            K, Rt = (np.array(part, np.float64) for part in json.loads(camera.read_text()))
        except (OSError, ValueError) as error:
            raise UserError(f"{camera} is not a readable [K, Rt] ({error})") from error
        index = order * N_LAB_VIEWS * len(LAB_FOCALS) + focal * N_LAB_VIEWS + view
        return LabItem(
            index, stem, int(subject), focal, view, data / "lab_img" / f"{stem}.png",
            data / "lab_gt_mesh" / f"{subject}.obj", K, Rt, self._lab_rotations[view], self._lab_centers[focal],
        )  # fmt: skip


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Write a plain OBJ: positions [V, 3] and triangles [F, 3] (0-based here, 1-based in the file)."""
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions [V, 3] float64 and triangles [F, 3] int64 of an OBJ, in the file's order, nothing merged."""
    vertices, faces = [], []
    try:
        with open(path) as stream:
            for line in stream:
                if line.startswith("v "):
                    vertices.append(line.split()[1:4])
                elif line.startswith("f "):
                    corners = [token.split("/")[0] for token in line.split()[1:]]
                    faces += [[corners[0], corners[k], corners[k + 1]] for k in range(1, len(corners) - 1)]
        positions = np.array(vertices, np.float64)
        triangles = np.array(faces, np.int64)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable OBJ ({error})") from error
    if positions.ndim != 2 or triangles.ndim != 2 or triangles.max() > len(positions):
        raise UserError(f"{path}: not a triangle mesh; expected v and f lines")
    return positions, np.where(triangles > 0, triangles - 1, triangles + len(positions))
