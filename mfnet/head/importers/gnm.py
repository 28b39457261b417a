"""Google's GNM Head v3 (Apache 2.0) as a head in FLAME's form: learned from scans, and free for companies too.

Kept are the skin with the inside of the mouth, and the eyeballs' outer surface; teeth, gums and tongue are left out.
GNM has no jaw joint: its jaw opens by what its lower-face directions do to the lower teeth, and that becomes a joint.
Joints move with the skin around them, as FLAME's do; what the file says of joints and identities is not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mfnet.errors import UserError
from mfnet.head.canvas import painted
from mfnet.head.importers.contour import landmark_tables, on_surface
from mfnet.head.importers.directions import directions_of_causes
from mfnet.head.importers.gnm_file import GnmFile, read_gnm, read_landmarks
from mfnet.head.importers.regions import face_by_place
from mfnet.head.importers.rig import Hinge, jaw_correctives, jaw_share, joint_regressor
from mfnet.head.importers.texture_spaces import grey_albedo
from mfnet.head.model import EYES_MIDDLE, N_EXPRESSION, N_JOINTS, N_SHAPE, HeadModel
from mfnet.head.packaged import anny_head

_NECK, _HEAD, _LEFT_EYE, _RIGHT_EYE = range(4)
_JAW = 2
_LOWER_FACE, _LOWER_TEETH = "lower_face_region_", "lower_teeth_and_gums"
_EYE_SURFACE, _SKIN, _SOCKETS, _MOUTH, _EARS = "eye_exteriors", "skin", "eye_sockets", "mouth_sock", "ears"
# The jaw is read off an opening of so many standard deviations, which has to turn it by so many radians at least.
_OPENING, _LEAST_TURN = 2.0, np.radians(2.0)
_NEAREST = 200
# iBUG's parts from top to bottom: brows, eyes, nostrils, mouth, chin.
_DOWNWARDS = (slice(17, 27), slice(36, 48), slice(31, 36), slice(48, 68), slice(7, 10))
# Where each part's texture goes: u0, v0, width, height.
_CHARTS = {"skin": (0.003, 0.15, 0.994, 0.847), "left": (0.84, 0.01, 0.13, 0.13), "right": (0.03, 0.01, 0.13, 0.13)}


class Kept(NamedTuple):
    """The part of the file that is a head here.

    vertices [V'] their numbers in the file; place [V]: the new number of each, -1 where it is left out; triangles [F']
    their numbers in the file; faces [F', 3] by the new numbers; left, right [V'] bool: the eyeballs.
    """

    vertices: np.ndarray
    place: np.ndarray
    triangles: np.ndarray
    faces: np.ndarray
    left: np.ndarray
    right: np.ndarray


def load_gnm(path: str | Path, landmarks: str | Path | None = None) -> tuple[HeadModel, float]:
    """`gnm_head.npz` as a HeadModel, and the share of the expressions' variance that its 100 directions hold.

    Args:
        path: `gnm_head.npz`.
        landmarks: GNM's `head_sparse_68.txt`; None looks beside the file and where a checkout of GNM has it.

    Raises:
        UserError: a file is missing, or holds something else.
    """
    path = Path(path)
    content = read_gnm(path)
    points = read_landmarks(Path(landmarks) if landmarks else None, path, len(content.template))
    kept = _kept(content, path)
    shift = EYES_MIDDLE - content.joints[[_LEFT_EYE, _RIGHT_EYE]].mean(0)
    template = content.template[kept.vertices] + shift
    shape, _ = directions_of_causes(content.identities[:, kept.vertices], np.eye(len(content.identities)), N_SHAPE)
    opening, hinge, expressions = _jaw_apart(content, path)
    hinge = hinge._replace(centre=hinge.centre + shift)
    expressions = expressions[:, kept.vertices]
    expression, _ = directions_of_causes(expressions, np.eye(len(expressions)), N_EXPRESSION)
    regions = _regions(content, kept, template)
    uv_coordinates, uv_faces = _texture_layout(content, kept)
    head = HeadModel(
        template=template.astype(np.float32),
        faces=kept.faces,
        shape_directions=shape.astype(np.float32),
        expression_directions=expression.astype(np.float32),
        **_rig(content, kept, template, hinge, opening[kept.vertices], content.joints + shift),
        **_landmarks(points, kept, template, regions["eyes"] | regions["mouth"], path),
        uv_coordinates=uv_coordinates.astype(np.float32),
        uv_faces=uv_faces,
        **grey_albedo(),
        regions=regions,
        traits={},
        actions={},
    )
    return painted(head, anny_head()), float((expression**2).sum() / (expressions**2).sum())


def _kept(content: GnmFile, path: Path) -> Kept:
    for name in (_SKIN, _EYE_SURFACE, _LOWER_TEETH):
        if not content.groups.get(name, np.zeros(1, bool)).any():
            raise UserError(f"{path}: vertex_groups have no {name}; expected those of GNM Head v3")
    skin = _group(content, _SKIN) | _group(content, _SOCKETS) | _group(content, _MOUTH)
    left, right = (content.groups[_EYE_SURFACE] & (content.weights[:, eye] > 0.5) for eye in (_LEFT_EYE, _RIGHT_EYE))
    of_head = skin | left | right
    vertices = np.flatnonzero(of_head)
    place = np.full(len(of_head), -1)
    place[vertices] = np.arange(len(vertices))
    triangles = np.flatnonzero(of_head[content.triangles].all(1))
    faces = place[content.triangles[triangles]]
    a, b, c = (content.template[vertices][faces[:, k]] for k in range(3))
    if (np.cross(b - a, c - a) * (a + b + c - 3 * content.template[skin].mean(0))).sum() < 0:
        faces = faces[:, ::-1].copy()
    kept = Kept(vertices, place, triangles, faces, left[vertices], right[vertices])
    for part, mask in (("left eye", kept.left), ("right eye", kept.right), ("skin", ~kept.left & ~kept.right)):
        if not mask[faces].all(1).any():
            raise UserError(f"{path}: the {part} has no triangle; expected the vertex_groups of GNM Head v3")
    return kept


def _group(content: GnmFile, name: str) -> np.ndarray:
    return content.groups.get(name, np.zeros(len(content.template), bool))


def _jaw_apart(content: GnmFile, path: Path) -> tuple[np.ndarray, Hinge, np.ndarray]:
    """The jaw's opening [V, 3], the turn that it is, and all expressions [E, V, 3] without it.

    Of all expressions by which the lower teeth turn about x by some angle, the opening is the most likely one: it goes
    with what each direction turns them by.
    """
    lower = np.array([name.startswith(_LOWER_FACE) for name in content.expression_names])
    if not lower.any():
        raise UserError(f"{path}: expression_names have none that begins with {_LOWER_FACE}")
    teeth = content.template[content.groups[_LOWER_TEETH]]
    motions = _small_motions(teeth, content.expressions[lower][:, content.groups[_LOWER_TEETH]])
    turn = motions[:, 0]
    if _OPENING * np.linalg.norm(turn) < _LEAST_TURN:
        raise UserError(
            f"{path}: no direction of the lower face turns the lower teeth; expected one that opens the jaw"
        )
    unit = turn / np.linalg.norm(turn)
    angle, shift = unit @ turn, unit @ motions[:, 3:]
    centre = teeth.mean(0) + np.array([0, -shift[2], shift[1]]) / angle
    centre[0] = 0
    per_deviation = np.tensordot(unit, content.expressions[lower], 1)
    rest = content.expressions.copy()
    rest[lower] -= unit[:, None, None] * per_deviation
    return _OPENING * per_deviation, Hinge(_OPENING * angle, centre), rest


def _small_motions(points: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """The small rigid motions nearest to displacements [K, N, 3] of points [N, 3], [K, 6]: turns about x, y and z
    through the points' middle, radians, and shifts, metres."""
    x, y, z = (points - points.mean(0)).T
    zero, one = np.zeros(len(x)), np.ones(len(x))
    rows = [
        np.column_stack([zero, z, -y, one, zero, zero]),
        np.column_stack([-z, zero, x, zero, one, zero]),
        np.column_stack([y, -x, zero, zero, zero, one]),
    ]
    system = np.stack(rows, 1).reshape(-1, 6)
    return np.linalg.lstsq(system, displacements.reshape(len(displacements), -1).T, rcond=None)[0].T


def _rig(
    content: GnmFile, kept: Kept, template: np.ndarray, hinge: Hinge, opening: np.ndarray, gnm_joints: np.ndarray
) -> dict[str, np.ndarray]:
    """Joints, weights and correctives: GNM's neck is the root, its head the neck, and what opens is the jaw's."""
    joints = np.stack([gnm_joints[_NECK], gnm_joints[_HEAD], hinge.centre, *gnm_joints[[_LEFT_EYE, _RIGHT_EYE]]])
    weights = np.zeros((len(template), N_JOINTS))
    weights[:, [0, 1, 3, 4]] = content.weights[kept.vertices]
    jaw = jaw_share(template, opening, hinge.centre, hinge.angle) * weights[:, 1]
    weights[:, 1] -= jaw
    weights[:, _JAW] = jaw
    correctives = jaw_correctives(template, opening, jaw, hinge.centre, hinge.angle)
    for block, joint in ((0, _HEAD), (2, _LEFT_EYE), (3, _RIGHT_EYE)):
        own = content.correctives[joint][:, kept.vertices]
        correctives[:, :, 9 * block : 9 * block + 9] += np.moveaxis(own, 0, -1)
    skin = np.flatnonzero(~kept.left & ~kept.right)
    near = [skin[np.argsort(np.linalg.norm(template[skin] - joint, axis=1), kind="stable")[:_NEAREST]]
            for joint in joints[:3]]  # fmt: skip
    eyes = [np.flatnonzero(side) for side in (kept.left, kept.right)]
    return {
        "joint_regressor": joint_regressor(template, joints, [*near, *eyes]).astype(np.float32),
        "skinning_weights": weights.astype(np.float32),
        "pose_directions": correctives.astype(np.float32),
    }


def _landmarks(
    points: tuple[np.ndarray, np.ndarray], kept: Kept, template: np.ndarray, off_skin: np.ndarray, path: Path
) -> dict[str, np.ndarray]:
    vertices, weights = kept.place[points[0]], points[1]
    off = (vertices < 0) & (weights > 0)
    if off.any():
        raise UserError(
            f"{path}: landmark {off.any(1).argmax()} lies on teeth, tongue or an eye's inside, not on the skin"
        )
    places = (template[vertices] * weights[..., None]).sum(1)
    # GNM's table does not have the whole contour from ear to ear: it is ordered by the angle about the nose.
    across, down = (places[:17] - places[27:36].mean(0))[:, :2].T * [[1], [-1]]
    order = np.array([*np.argsort(np.arctan2(across, down), kind="stable"), *range(17, 68)])
    vertices, places = vertices[order], places[order]
    heights = [places[part, 1].mean() for part in _DOWNWARDS]
    if places[36:42, 0].mean() > places[42:48, 0].mean() or sorted(heights, reverse=True) != heights:
        raise UserError(f"{path}: the landmarks are not iBUG's; expected 36 to 41 at the right eye, 17 to 26 the brows")
    landmarks = on_surface(places, vertices, template, kept.faces)
    return landmark_tables(template, kept.faces, landmarks, off_skin, float(1000 * places[[0, 16], 2].mean()))


def _regions(content: GnmFile, kept: Kept, template: np.ndarray) -> dict[str, np.ndarray]:
    sockets, mouth, ears = (_group(content, name)[kept.vertices] for name in (_SOCKETS, _MOUTH, _EARS))
    eyes = kept.left | kept.right | sockets
    return {"face": face_by_place(template) & ~eyes & ~mouth & ~ears, "eyes": eyes, "mouth": mouth, "ears": ears}


def _texture_layout(content: GnmFile, kept: Kept) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates [T, 2] and their triangles: GNM's own of skin and eyes, side by side in one square."""
    corner_uv = content.triangle_uvs[kept.triangles].copy()
    # Of triangles that were turned round the corners are too.
    turned = (content.triangles[kept.triangles] != kept.vertices[kept.faces]).any()
    corner_uv = corner_uv[:, ::-1] if turned else corner_uv
    in_left, in_right = (side[kept.faces].all(1) for side in (kept.left, kept.right))
    for name, chart in (("skin", ~in_left & ~in_right), ("left", in_left), ("right", in_right)):
        u0, v0, width, height = _CHARTS[name]
        low, high = corner_uv[chart].min((0, 1)), corner_uv[chart].max((0, 1))
        corner_uv[chart] = [u0, v0] + (corner_uv[chart] - low) / np.maximum(high - low, 1e-9) * [width, height]
    corners = np.column_stack([kept.faces.ravel(), np.round(corner_uv.reshape(-1, 2), 6)])
    used, index = np.unique(corners, axis=0, return_inverse=True)
    return used[:, 1:], index.reshape(-1, 3)
