"""A generated person: identity, skin, what no parameter of the head model explains, and what the face does."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mfnet.head import Flame, HeadModel, anny_head
from mfnet.head.canvas import canvas_of
from mfnet.head.model import action_of_both_sides
from mfnet.head.paint import Canvas, Look, draw_look, draw_traits
from mfnet.head.strangers import smooth_displacement
from mfnet.render.shading import vertex_normals

_SKIN_TEXELS = 384
_RELIEF_WAVES = 160
# Metres over which the deviation that no direction explains changes: wavelengths of two to six centimetres.
_DEVIATION_LENGTH = 0.0055
# It fades towards eyeballs, over so many metres from their middle.
_EYE_NEAR, _EYE_FAR = 0.016, 0.032
# What people do in each of Multi-PIE's recordings: facial actions of both sides and their mean weights.
_PLAYED: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"mouthSmile": 0.6, "cheekSquint": 0.35, "mouthUpperUp": 0.2, "mouthDimple": 0.2, "eyeSquint": 0.2},
    "surprise": {"browInnerUp": 0.7, "browOuterUp": 0.7, "eyeWide": 0.6, "mouthFunnel": 0.1},
    "squint": {"eyeSquint": 0.7, "cheekSquint": 0.5, "browDown": 0.45, "noseSneer": 0.2, "eyeBlink": 0.25},
    "disgust": {"noseSneer": 0.7, "mouthUpperUp": 0.45, "browDown": 0.5, "mouthFrown": 0.35, "eyeSquint": 0.4},
    "scream": {"mouthStretch": 0.4, "mouthLowerDown": 0.4, "mouthUpperUp": 0.25, "browInnerUp": 0.35, "eyeSquint": 0.5,
               "noseSneer": 0.3},
}  # fmt: skip
_JAW_OPENING = {"surprise": 0.20, "scream": 0.32, "smile": 0.05}
_ANY = "any"
# Of every action, a person's own at an instant: its standard deviation, and how much of it both sides share.
_OWN, _BOTH_SIDES = 0.07, 0.85
# Of a head that names no actions: standard deviations of the expression's centre and of a person's own.
_CENTRE, _AROUND = 0.6, 0.5


class Person(NamedTuple):
    """What stays the same over a person's photographs.

    traits: sex, age and ancestry; shape [n_shape], standard deviations; look: colours; deviation [V, 3]: metres by
    which the skin lies off every shape of the head model; wave_vectors [N, 3], phases [N], amplitudes [N]: the fine
    relief, a sum of waves over the template's surface, metres.
    """

    traits: dict[str, float]
    shape: np.ndarray
    look: Look
    deviation: np.ndarray
    wave_vectors: np.ndarray
    phases: np.ndarray
    amplitudes: np.ndarray


def draw_person(rng: np.random.Generator, head: HeadModel, relief_mm: float, deviation_mm: float) -> Person:
    """A person at random; every direction of the head model is used, more than MFNet's parameters cover.

    Args:
        rng: draws it.
        head: the head model.
        relief_mm: root mean square of pores and folds, waves of 4 to 26 mm.
        deviation_mm: of the smooth form beside every shape of the model.
    """
    traits = draw_traits(rng)
    shape = draw_shape(rng, head, traits)
    wavelength = np.where(
        np.arange(_RELIEF_WAVES) % 2, rng.uniform(4, 9, _RELIEF_WAVES), rng.uniform(12, 26, _RELIEF_WAVES)
    )
    direction = rng.normal(size=(_RELIEF_WAVES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    amplitude = wavelength / np.sqrt((wavelength**2).sum() / 2)
    return Person(
        traits=traits,
        shape=shape,
        look=draw_look(rng, traits),
        deviation=_unexplained(rng, head) * deviation_mm * 1e-3,
        wave_vectors=direction * (2 * np.pi / (wavelength[:, None] * 1e-3)),
        phases=rng.uniform(0, 2 * np.pi, _RELIEF_WAVES),
        amplitudes=amplitude * relief_mm * 1e-3,
    )


def draw_shape(rng: np.random.Generator, head: HeadModel, traits: dict[str, float]) -> np.ndarray:
    """A shape at random among those that the head model gives people of these traits, if it knows any."""
    shape = np.asarray(rng.normal(size=head.shape_directions.shape[2]))
    known = [name for name in traits if name in head.traits]
    if known:
        constant = np.array([head.traits[name][0] for name in known])
        weights = np.stack([head.traits[name][1:] for name in known]).astype(np.float64)
        missing = np.array([traits[name] for name in known]) - constant - weights @ shape
        # The most likely change of the shape that explains them; what the shape hardly shows is asked for but softly.
        covariance = weights @ weights.T
        softness = 0.3 * np.diag(np.diag(covariance))
        shape = shape + weights.T @ np.linalg.solve(covariance + softness, missing)
    return np.clip(shape, -3, 3)


def _unexplained(rng: np.random.Generator, head: HeadModel) -> np.ndarray:
    """A smooth displacement [V, 3] that no shape direction has a part in, of root mean square one over the face."""
    template = head.template.astype(np.float64)
    field = smooth_displacement(template, rng, _DEVIATION_LENGTH)
    eyes = head.skinning_weights[:, 3:] > 0.5
    near = np.min([np.linalg.norm(template - template[eyes[:, side]].mean(0), axis=1) for side in (0, 1)], 0)
    share = np.clip((near - _EYE_NEAR) / (_EYE_FAR - _EYE_NEAR), 0, 1)
    field = field * (share * share * (3 - 2 * share) * ~(head.regions["eyes"] | head.regions["mouth"]))[:, None]
    directions = head.shape_directions.reshape(-1, head.shape_directions.shape[2])
    square = np.einsum("ij,ij->j", directions, directions)
    used = square > 1e-12 * square[0]
    explained = (field.ravel().astype(np.float32) @ directions)[used] / square[used]
    field = field - (directions[:, used] @ explained).reshape(field.shape)
    return field / np.sqrt((field[head.regions["face"]] ** 2).sum(1).mean())


class Performance(NamedTuple):
    """What a person does at one instant: expression [n_expression] and pose [15]."""

    expression: np.ndarray
    pose: np.ndarray


def draw_performance(rng: np.random.Generator, head: HeadModel, expression: str) -> Performance:
    """An expression of the named kind (Multi-PIE's recordings, or "any"), jaw and gaze; the head looks ahead."""
    strength = rng.uniform(0.3, 1.0) if expression == _ANY else rng.uniform(0.7, 1.2)
    if expression == _ANY:
        expression = str(rng.choice(list(_PLAYED), p=[0.3, 0.3, 0.1, 0.1, 0.1, 0.1]))
    pose = np.zeros(15)
    pose[6] = np.abs(rng.normal()) * 0.015 + strength * _JAW_OPENING.get(expression, 0.0) * rng.uniform(0.5, 1.2)
    pose[[9, 12]], pose[[10, 13]] = rng.normal() * 0.06, rng.normal() * 0.10
    played = _by_actions if head.actions else _by_directions
    return Performance(played(rng, head, expression, strength), pose)


def _by_actions(rng: np.random.Generator, head: HeadModel, expression: str, strength: float) -> np.ndarray:
    """The named expression as facial actions, played more or less, both sides nearly alike, and a little of all."""
    weights: dict[str, float] = {}
    for name in head.actions:
        part = action_of_both_sides(name)
        if part not in weights:
            centre = strength * _PLAYED[expression].get(part, 0.0)
            weights[part] = centre * rng.uniform(0.6, 1.3) + _OWN * np.abs(rng.normal())
    total = np.zeros(head.expression_directions.shape[2])
    for name, coefficients in head.actions.items():
        part = action_of_both_sides(name)
        apart = 1 + (1 - _BOTH_SIDES) * rng.normal() if name != part else 1.0
        total += np.clip(weights[part] * apart, 0, 1) * coefficients
    return total


def _by_directions(rng: np.random.Generator, head: HeadModel, expression: str, strength: float) -> np.ndarray:
    """For a head that names no actions: a centre of the kind's own that all people share, and a person's own."""
    n_expression = head.expression_directions.shape[2]
    centre = np.random.default_rng(sum(map(ord, expression))).normal(size=n_expression) * (expression != "neutral")
    return np.clip(strength * (_CENTRE * centre + _AROUND * rng.normal(size=n_expression)), -2.5, 2.5)


@lru_cache(maxsize=2)
def sculptor_of(head_path: Path, subdivisions: int = 0) -> Sculptor:
    """The sculptor of a head's file, made once a process."""
    return Sculptor(*_head_and_canvas(head_path), subdivisions)


@lru_cache(maxsize=1)
def _head_and_canvas(head_path: Path) -> tuple[HeadModel, Canvas]:
    head = HeadModel.load(head_path)
    return head, skin_canvas(head)


def skin_canvas(head: HeadModel) -> Canvas:
    """Where the brush paints a person's skin on a head; the brush knows the packaged head."""
    brush_head = anny_head()
    return canvas_of(head, _SKIN_TEXELS, None if head.fingerprint == brush_head.fingerprint else brush_head)


class Sculptor:
    """Turns persons and performances into meshes with relief, at the head's resolution or finer."""

    def __init__(self, head: HeadModel, canvas: Canvas, subdivisions: int = 0) -> None:
        self.head, self.canvas = head, canvas
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

    def sculpt(self, person: Person, performance: Performance) -> np.ndarray:
        """Vertices [V', 3] with relief: metres, FLAME's axes."""
        values = (person.shape, performance.expression, performance.pose)
        with torch.no_grad():
            smooth = self.flame(*(torch.tensor(value, dtype=torch.float32)[None] for value in values)).vertices
        # The deviation is of the skin at rest; that it is not turned with an open jaw is a fraction of itself.
        vertices = self._refine(smooth[0].numpy().astype(np.float64) + person.deviation, self._splits)
        normals = vertex_normals(torch.tensor(vertices)[None], torch.tensor(self.faces))[0].numpy()
        phases = self._template @ person.wave_vectors.T + person.phases
        waves = np.cos(phases.astype(np.float32)) @ person.amplitudes.astype(np.float32)
        return vertices + (waves[:, None] * self._rough) * normals

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Unit normals [V', 3] of sculpted vertices, in the frame they are given in."""
        return vertex_normals(torch.tensor(vertices, dtype=torch.float32)[None], torch.tensor(self.faces))[0].numpy()

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
