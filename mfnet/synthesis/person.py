"""A generated person: identity, skin and the fine relief that no parameter of the head model explains."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from mfnet.head import Flame, HeadModel
from mfnet.render.shading import vertex_normals

_EXPRESSION_STRENGTH = {
    "neutral": 0.25, "smile": 0.8, "surprise": 1.0, "squint": 0.9, "disgust": 1.0, "scream": 1.1, "any": 0.8,
}  # fmt: skip
_JAW_OPENING = {"surprise": 0.22, "scream": 0.38, "smile": 0.05, "any": 0.10}
_RELIEF_WAVES = 160


class Person(NamedTuple):
    """What stays the same over a person's photographs.

    shape [n_shape], albedo [K]: standard deviations; wave_vectors [N, 3], phases [N], amplitudes [N]: the relief,
    a sum of waves over the template's surface, metres.
    """

    shape: np.ndarray
    albedo: np.ndarray
    wave_vectors: np.ndarray
    phases: np.ndarray
    amplitudes: np.ndarray


def draw_person(rng: np.random.Generator, head: HeadModel, relief_mm: float) -> Person:
    """A person at random; every direction of the head model is used, more than MFNet's parameters cover."""
    n_shape, n_albedo = head.shape_directions.shape[2], len(head.albedo_basis)
    wavelength = np.where(np.arange(_RELIEF_WAVES) % 2, rng.uniform(4, 9, _RELIEF_WAVES), rng.uniform(12, 26, 160))
    direction = rng.normal(size=(_RELIEF_WAVES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    amplitude = wavelength / np.sqrt((wavelength**2).sum() / 2)
    return Person(
        shape=np.clip(rng.normal(size=n_shape), -2.5, 2.5),
        albedo=np.clip(rng.normal(size=n_albedo), -2, 2),
        wave_vectors=direction * (2 * np.pi / (wavelength[:, None] * 1e-3)),
        phases=rng.uniform(0, 2 * np.pi, _RELIEF_WAVES),
        amplitudes=amplitude * relief_mm * 1e-3,
    )


class Performance(NamedTuple):
    """What a person does at one instant: expression [n_expression] and pose [15]."""

    expression: np.ndarray
    pose: np.ndarray


def draw_performance(rng: np.random.Generator, head: HeadModel, expression: str) -> Performance:
    """An expression of the named kind (Multi-PIE's recordings, or "any"), jaw and gaze; the head looks ahead.

    Each kind has a centre of its own that all people share, so that a smile is a smile.
    """
    n_expression = head.expression_directions.shape[2]
    kind = np.random.default_rng(sum(map(ord, expression)))
    centre = kind.normal(size=n_expression) * (expression not in ("neutral", "any"))
    own = rng.normal(size=n_expression)
    pose = np.zeros(15)
    pose[6] = np.abs(rng.normal()) * 0.02 + _JAW_OPENING.get(expression, 0.0) * rng.uniform(0.5, 1.3)
    pose[[9, 12]], pose[[10, 13]] = rng.normal() * 0.06, rng.normal() * 0.10
    strength = _EXPRESSION_STRENGTH[expression]
    return Performance(np.clip(strength * (0.75 * centre + 0.65 * own), -2.5, 2.5), pose)


class Sculptor:
    """Turns persons and performances into meshes with relief, at the head's resolution or finer."""

    def __init__(self, head: HeadModel, subdivisions: int = 0) -> None:
        self.head = head
        self.flame = Flame(head, head.shape_directions.shape[2], head.expression_directions.shape[2])
        self.faces, self.uv_faces = head.faces, head.uv_faces
        self._splits, self._uv_splits = [], []
        n_vertices, n_uv = len(head.template), len(head.uv_coordinates)
        for _ in range(subdivisions):
            self.faces, edges = _split_triangles(self.faces, n_vertices)
            self.uv_faces, uv_edges = _split_triangles(self.uv_faces, n_uv)
            self._splits.append(edges)
            self._uv_splits.append(uv_edges)
            n_vertices, n_uv = n_vertices + len(edges), n_uv + len(uv_edges)
        self.uv_coordinates = self._refine(head.uv_coordinates, self._uv_splits)
        self._template = self._refine(head.template, self._splits)
        rough = ~(head.regions["eyes"] | head.regions["mouth"])
        self._rough = self._refine(rough.astype(np.float32)[:, None], self._splits)

    @staticmethod
    def _refine(values: np.ndarray, splits: list[np.ndarray]) -> np.ndarray:
        for edges in splits:
            values = np.concatenate([values, values[edges].mean(1)])
        return values

    def region(self, name: str) -> np.ndarray:
        """[V'] bool: a region of the head model on the refined vertices."""
        return self._refine(self.head.regions[name].astype(np.float32)[:, None], self._splits)[:, 0] > 0.99

    def sculpt(self, person: Person, performance: Performance) -> tuple[np.ndarray, np.ndarray]:
        """Vertices [V', 3] with relief, and the 68 landmarks on them [68, 3]: metres, FLAME's axes.

        The contour landmarks are those of a frontal head; see `landmarks` for another yaw.
        """
        values = (person.shape, performance.expression, performance.pose)
        with torch.no_grad():
            smooth = self.flame(*(torch.tensor(value, dtype=torch.float32)[None] for value in values)).vertices
        vertices = self._refine(smooth[0].numpy().astype(np.float64), self._splits)
        normals = vertex_normals(torch.tensor(vertices)[None], torch.tensor(self.faces))[0].numpy()
        waves = np.cos(self._template @ person.wave_vectors.T + person.phases) @ person.amplitudes
        vertices = vertices + (waves[:, None] * self._rough) * normals
        return vertices, self.landmarks(vertices, 0.0)

    def landmarks(self, vertices: np.ndarray, yaw_degrees: float) -> np.ndarray:
        """The 68 landmarks [68, 3] of sculpted vertices seen at a yaw (+ is the nose to image right)."""
        degree = int(np.clip(np.round(yaw_degrees), -39, 39))
        row = degree if degree >= 0 else 39 - degree
        head = self.head
        return self._on_surface(vertices, head.contour_landmark_faces[row], head.contour_landmark_barycentric[row])

    def fixed_landmarks(self, vertices: np.ndarray) -> np.ndarray:
        """The 68 landmarks [68, 3] of sculpted vertices as annotations in space have them, on the jaw."""
        return self._on_surface(vertices, *self.head.jaw_landmarks)

    def _on_surface(
        self, vertices: np.ndarray, contour_faces: np.ndarray, contour_barycentric: np.ndarray
    ) -> np.ndarray:
        index = np.concatenate([contour_faces, self.head.static_landmark_faces])
        weights = np.concatenate([contour_barycentric, self.head.static_landmark_barycentric])
        return (vertices[self.head.faces[index]] * weights[..., None]).sum(1)


def _split_triangles(faces: np.ndarray, n_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Each triangle into four; the finer triangles and the edges [E, 2] whose midpoints are new vertices."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (index.reshape(3, -1) + n_vertices).astype(np.int64)
    a, b, c = faces.T
    finer = [np.stack(corners, 1) for corners in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return np.concatenate(finer), unique
