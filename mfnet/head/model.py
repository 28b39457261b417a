"""The head model as data: what a FLAME file holds, validated, in one `.npz`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mfnet.errors import UserError
from mfnet.head.archive import read_npz

N_SHAPE, N_EXPRESSION, N_POSE_CORRECTIVES, N_JOINTS = 300, 100, 36, 5
N_STATIC_LANDMARKS, N_CONTOUR_LANDMARKS, N_CONTOUR_ROWS = 51, 17, 79
REGIONS = ("face", "eyes", "mouth")
PARENTS = (-1, 0, 1, 1, 1)
# Where the middle between FLAME's eyes is, metres; this project's heads stand in the same place.
EYES_MIDDLE = np.array([0.0, 0.0214, 0.0255])

_OPTIONAL = ("jaw_landmark_faces", "jaw_landmark_barycentric")
# Dicts of arrays, and how the names of theirs begin in the file.
_NAMED = {"regions": "region_", "traits": "trait_", "actions": "action_"}
# Displacements are stored in steps of a ten-thousandth of a millimetre, colours' directions in these.
_STEP_M, _STEP_COLOUR = 1e-7, 1 / 2048
# Of weights, as the fingerprint sees them.
_STEP_SHARE = 1e-5
_STEPS = dict.fromkeys(("template", "shape_directions", "expression_directions", "pose_directions"), _STEP_M)
_STEPS |= {"albedo_mean": _STEP_COLOUR, "albedo_basis": _STEP_COLOUR}
_FINGERPRINT_LENGTH = 12


# Other formats by their files' suffix, beside this package's own; importers put theirs here.
READERS: dict[str, Callable[..., HeadModel]] = {}


class Directions(NamedTuple):
    """How many of a head's directions are used: of shape, expression and albedo, the first ones of each."""

    n_shape: int = 100
    n_expression: int = 50
    n_albedo: int = 40


@dataclass(frozen=True)
class HeadModel:
    """A linear-blend-skinned head with FLAME's parameters.

    Metres, FLAME's axes: x to the person's left, y up, z out of the face. ``V`` vertices, ``F`` triangles
    (counter-clockwise from outside), ``T`` texture coordinates, ``R`` texels a side, ``K`` albedo directions.

    Attributes:
        template: [V, 3] the mean head.
        faces: [F, 3] vertex indices.
        shape_directions: [V, 3, 300] identity displacements of one standard deviation, decreasing variance.
        expression_directions: [V, 3, 100] the same for expressions.
        pose_directions: [V, 3, 36] displacements per entry of ``R - I`` of neck, jaw, left and right eye.
        joint_regressor: [5, V] joints (root, neck, jaw, left eye, right eye) from the shaped vertices.
        skinning_weights: [V, 5] rows sum to one.
        static_landmark_faces, static_landmark_barycentric: [51], [51, 3] iBUG landmarks 17..67.
        contour_landmark_faces, contour_landmark_barycentric: [79, 17], [79, 17, 3] iBUG landmarks 0..16, one
            row per degree of yaw: row a for +a, row 39 + a for -a.
        uv_coordinates, uv_faces: [T, 2] in [0, 1] with v upwards, [F, 3].
        albedo_mean, albedo_basis: [R, R, 3] and [K, R, R, 3] RGB in [0, 1], row 0 at v = 1.
        jaw_landmark_faces, jaw_landmark_barycentric: [17], [17, 3] the jawline that stays on the skin, where a file has
            one of its own; see `jaw_landmarks`.
        regions: name -> [V] bool for ``face``, ``eyes`` (eyeballs; of some heads also the lids' rims and the sockets
            behind them) and ``mouth`` (its interior); a head may name more.
        traits: name -> [1 + 300] where a head knows what its people are (``female``, ``age`` in years, ...): a linear
            prediction of it from the shape, its mean and a weight for each direction.
        actions: name -> [100] where a head knows facial actions by name (ARKit's): the expression of one in full.
    """

    template: np.ndarray
    faces: np.ndarray
    shape_directions: np.ndarray
    expression_directions: np.ndarray
    pose_directions: np.ndarray
    joint_regressor: np.ndarray
    skinning_weights: np.ndarray
    static_landmark_faces: np.ndarray
    static_landmark_barycentric: np.ndarray
    contour_landmark_faces: np.ndarray
    contour_landmark_barycentric: np.ndarray
    uv_coordinates: np.ndarray
    uv_faces: np.ndarray
    albedo_mean: np.ndarray
    albedo_basis: np.ndarray
    jaw_landmark_faces: np.ndarray | None = None
    jaw_landmark_barycentric: np.ndarray | None = None
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    traits: dict[str, np.ndarray] = field(default_factory=dict)
    actions: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_vertices, n_faces = len(self.template), len(self.faces)
        resolution = self.albedo_mean.shape[0]
        expected = {
            "template": (n_vertices, 3),
            "faces": (n_faces, 3),
            "shape_directions": (n_vertices, 3, N_SHAPE),
            "expression_directions": (n_vertices, 3, N_EXPRESSION),
            "pose_directions": (n_vertices, 3, N_POSE_CORRECTIVES),
            "joint_regressor": (N_JOINTS, n_vertices),
            "skinning_weights": (n_vertices, N_JOINTS),
            "static_landmark_faces": (N_STATIC_LANDMARKS,),
            "static_landmark_barycentric": (N_STATIC_LANDMARKS, 3),
            "contour_landmark_faces": (N_CONTOUR_ROWS, N_CONTOUR_LANDMARKS),
            "contour_landmark_barycentric": (N_CONTOUR_ROWS, N_CONTOUR_LANDMARKS, 3),
            "uv_coordinates": (len(self.uv_coordinates), 2),
            "uv_faces": (n_faces, 3),
            "albedo_mean": (resolution, resolution, 3),
            "albedo_basis": (len(self.albedo_basis), resolution, resolution, 3),
        }
        if (self.jaw_landmark_faces is None) != (self.jaw_landmark_barycentric is None):
            raise UserError("head model: of jaw_landmark_faces and jaw_landmark_barycentric there is only one")
        limits = {"faces": n_vertices, "uv_faces": len(self.uv_coordinates)}
        limits |= dict.fromkeys(("static_landmark_faces", "contour_landmark_faces"), n_faces)
        if self.jaw_landmark_faces is not None:
            expected["jaw_landmark_faces"] = (N_CONTOUR_LANDMARKS,)
            expected["jaw_landmark_barycentric"] = (N_CONTOUR_LANDMARKS, 3)
            limits["jaw_landmark_faces"] = n_faces
        for name, shape in expected.items():
            actual = np.shape(getattr(self, name))
            if np.asarray(getattr(self, name)).dtype.kind not in "fiu":
                raise UserError(f"head model: {name} is not an array of numbers")
            if actual != shape:
                raise UserError(f"head model: {name} has shape {actual}, expected {shape}")
            if not np.isfinite(getattr(self, name)).all():
                raise UserError(f"head model: {name} holds values that are not finite")
        for name, limit in limits.items():
            index = getattr(self, name)
            if index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= limit:
                raise UserError(f"head model: {name} refers to index {index.max()}, expected integers 0..{limit - 1}")
        for name in (*REGIONS, *self.regions):
            if name not in self.regions or self.regions[name].shape != (n_vertices,):
                raise UserError(f"head model: region '{name}' is missing, expected a mask of {n_vertices} vertices")
        self._check_named("traits", 1 + N_SHAPE)
        self._check_named("actions", N_EXPRESSION)

    def _check_named(self, field_name: str, length: int) -> None:
        for name, values in getattr(self, field_name).items():
            if values.shape != (length,) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
                raise UserError(f"head model: {field_name} '{name}' is not {length} finite numbers")

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with what shape, expression, pose or camera mean, not with the skin."""
        digest = hashlib.sha256()
        for name, step in _STEPS.items():
            if step == _STEP_M:
                digest.update(_steps(getattr(self, name), step).tobytes())
        for name in ("faces", "static_landmark_faces", "contour_landmark_faces"):
            digest.update(np.ascontiguousarray(getattr(self, name), "<i8").tobytes())
        for name in (
            "joint_regressor", "skinning_weights", "static_landmark_barycentric", "contour_landmark_barycentric",
        ):  # fmt: skip
            digest.update(_steps(getattr(self, name), _STEP_SHARE).tobytes())
        return digest.hexdigest()[:_FINGERPRINT_LENGTH]

    @property
    def jaw_landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """Triangles [17] and barycentrics [17, 3] of the contour as annotations in space have it: points of the jaw.

        Without a jawline of its own, as RingNet's files are, a head has a frontal one's contour for it.
        """
        if self.jaw_landmark_faces is None or self.jaw_landmark_barycentric is None:
            return self.contour_landmark_faces[0], self.contour_landmark_barycentric[0]
        return self.jaw_landmark_faces, self.jaw_landmark_barycentric

    @property
    def face_region(self) -> np.ndarray:
        """[F] bool: triangles of the face itself, without mouth interior and eyes (the paper's M_face)."""
        excluded = self.regions["eyes"] | self.regions["mouth"]
        return self.regions["face"][self.faces].all(1) & ~excluded[self.faces].any(1)

    @property
    def skull_and_neck(self) -> np.ndarray:
        """[F] bool: triangles with no vertex in any region."""
        named = np.any(list(self.regions.values()), 0)
        return ~named[self.faces].any(1)

    def save(self, path: str | Path) -> None:
        """Write the model as a compressed ``.npz``, displacements to 1e-4 mm; the same model gives the same bytes."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NAMED}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        for name, step in _STEPS.items():
            arrays[name] = _planes(_steps(arrays[name], step))
        for named, start in _NAMED.items():
            arrays |= {start + name: array for name, array in getattr(self, named).items()}
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with open(partial, "wb") as stream:
            np.savez_compressed(stream, **arrays)
        partial.replace(path)

    @staticmethod
    def load(path: str | Path, landmarks: str | Path | None = None, **flame_files: str | Path | None) -> HeadModel:
        """Read a head from this project's ``.npz`` or from FLAME's own ``.pkl``.

        Args:
            path: ``head.npz`` or ``generic_model.pkl``.
            landmarks: for a pickle, FLAME's ``landmark_embedding.npy``.
            flame_files: for a pickle, optionally ``texture``, ``masks`` and ``uv``; see `load_flame`.

        Raises:
            UserError: the file is missing, is not a head model, or an array in it has the wrong shape.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"no file at {path}; expected head.npz or FLAME's generic_model.pkl")
        if path.suffix in READERS:
            return READERS[path.suffix](path, landmarks, **flame_files)
        arrays = read_npz(path, "a head.npz, as `mfnet convert` writes it")
        named: dict[str, Any] = {
            part: {name[len(start) :]: arrays.pop(name) for name in list(arrays) if name.startswith(start)}
            for part, start in _NAMED.items()
        }
        needed = [f.name for f in fields(HeadModel) if f.name not in (*_NAMED, *_OPTIONAL)]
        missing = [name for name in needed if name not in arrays]
        if missing:
            raise UserError(f"{path} lacks the array {missing[0]}")
        unknown = set(arrays) - {f.name for f in fields(HeadModel)}
        if unknown:
            raise UserError(f"{path} holds {min(unknown)}, which a head model has not")
        for name, step in _STEPS.items():
            arrays[name] = _from_planes(arrays[name], step, path, name)
        arrays["albedo_basis"] = arrays["albedo_basis"].astype(np.float16)
        try:
            return HeadModel(**arrays, **named)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error


def _steps(array: np.ndarray, step: float) -> np.ndarray:
    return np.round(np.asarray(array, np.float64) / step).astype("<i4")


def _planes(steps: np.ndarray) -> np.ndarray:
    """Integers as four planes of bytes [4, ...], their sign in the lowest bit: so they are compressed best."""
    zigzag = ((steps << 1) ^ (steps >> 31)).astype("<u4")
    return np.stack([(zigzag >> shift).astype(np.uint8) for shift in (0, 8, 16, 24)])


def _from_planes(planes: np.ndarray, step: float, path: Path, name: str) -> np.ndarray:
    if planes.dtype != np.uint8 or planes.ndim < 2 or len(planes) != 4:
        raise UserError(f"{path}: {name} is not stored as four planes of bytes; make the file anew")
    zigzag = np.zeros(planes.shape[1:], np.uint32)
    for plane, shift in zip(planes, (0, 8, 16, 24), strict=True):
        zigzag |= plane.astype(np.uint32) << shift
    steps = (zigzag >> 1).astype(np.int32) ^ -(zigzag & 1).astype(np.int32)
    return (steps * step).astype(np.float32)


def action_of_both_sides(name: str) -> str:
    """What a facial action is called without its side: of mouthSmileLeft mouthSmile, but mouthLeft is a way to move."""
    part = name.removesuffix("Left").removesuffix("Right")
    return name if part in ("mouth", "jaw") else part
