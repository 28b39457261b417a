"""The oracle fit: the head model fitted to the scans themselves, which shows what its parameters can reach at best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from mfnet.data.facescape import PUPIL_DISTANCE_MM, LabItem, WildItem, read_obj
from mfnet.errors import UserError
from mfnet.evaluation.methods.jobs import Job, Placed, Submission
from mfnet.evaluation.protocol.maps import cylinder_map
from mfnet.evaluation.protocol.scores import Mesh, continuous, map_points
from mfnet.evaluation.protocol.submission import Part, three_units_high
from mfnet.head import Directions, Flame, HeadModel, rotation_from_axis_angle
from mfnet.parallel import parallel_map
from mfnet.render.shading import vertex_normals

_MM = 1e-3
# Points of a scan that a fit looks at, steps of its two parts, and how often the nearest points are found anew.
_POINTS, _RIGID_STEPS, _STEPS, _MATCH_EVERY = 6000, 60, 300, 10
# Of placing and shaping, by Adam.
_RATES = (0.002, 0.02)
# Metres: what a point misses counts quadratically up to this, and not at all from the second on.
_QUADRATIC, _TOO_FAR = 0.003, 0.02
_ALIKE = 0.5
# Weight of a standard deviation squared against mean squared millimetres: just enough to hold what no point sees.
_PRIOR = 1e-4


class ScanFit(NamedTuple):
    """A head in a scan's canonical coordinates (millimetres, y up, face towards +z, around the head's centre).

    shape [n_shape], expression [n_expression], jaw [3]; rotation [3] axis-angle, scale, and translation [3] in metres:
    x' = scale * R x + translation, x the head without rotation.
    """

    shape: Tensor
    expression: Tensor
    jaw: Tensor
    rotation: Tensor
    scale: float
    translation: Tensor
    vertices: np.ndarray


class OracleMethod:
    """Each scan's own fit, placed by the item's true camera."""

    def __init__(self, head: HeadModel, directions: Directions, workers: int | None = 1, submit: str = "head") -> None:
        """Fit a head model.

        Args:
            head: the head model.
            directions: how many of its directions are used.
            workers: processes; None is one per core.
            submit: head, or face without neck, ears and the back of the head.
        """
        # Other processes are handed the head, but not its skin.
        bare = replace(head, albedo_basis=head.albedo_basis[:0])
        self._fit, self._workers = partial(fit_item, head=bare, directions=directions), workers
        # A person's views share one scan, whose fit is kept in its file's coordinates.
        self._fitted: dict[Path, np.ndarray | str] = {}
        self._part = Part.of(head, submit)
        self.faces = self._part.faces

    def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
        """See `mfnet.evaluation.methods.jobs.Method`."""
        first = {job.item.mesh: job.item for job in reversed(jobs) if job.item.mesh not in self._fitted}
        fits = parallel_map(self._fit, list(first.values()), None, self._workers)
        for item, fit in zip(first.values(), fits, strict=True):
            native = fit if isinstance(fit, str) else _to_native(item, fit.vertices[self._part.vertices])
            self._fitted[item.mesh] = native
        return [_as_submitted(job.item, self._fitted[job.item.mesh]) for job in jobs]


def canonical_scan(item: WildItem | LabItem) -> Mesh:
    """An item's scan in the head's coordinates: millimetres, y up, the face towards +z."""
    vertices, faces = read_obj(item.mesh)
    if isinstance(item, WildItem):
        return Mesh((vertices - item.head_center) * item.pupil_scale @ item.rotation, faces)
    camera = (vertices @ item.Rt[:, :3].T + item.Rt[:, 3]) * PUPIL_DISTANCE_MM
    return Mesh((camera - item.head_center) @ item.rotation, faces)


def _to_native(item: WildItem | LabItem, canonical: np.ndarray) -> np.ndarray:
    """From the head's coordinates back to those of the scan's file."""
    camera = canonical @ item.rotation.T
    if isinstance(item, WildItem):
        return camera / item.pupil_scale + item.head_center
    return ((camera + item.head_center) / PUPIL_DISTANCE_MM - item.Rt[:, 3]) @ item.Rt[:, :3]


def _as_submitted(item: WildItem | LabItem, native: np.ndarray | str) -> Submission:
    if isinstance(native, str):
        return native
    if isinstance(item, WildItem):
        return Placed(native)
    own = native @ item.Rt[:, :3].T + item.Rt[:, 3]
    return Placed(three_units_high(own), own)


def fit_item(item: WildItem | LabItem, head: HeadModel, directions: Directions) -> ScanFit | str:
    """`fit_scan` to an item's scan; or in one line why that cannot be."""
    try:
        return fit_scan(head, directions, canonical_scan(item))
    except UserError as error:
        return f"{item.mesh}: {error}"


def judged_points(scan: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """The points [P, 3] of a canonical scan (mm) that the benchmark's CD looks at, and the scan's normals [P, 3]."""
    scan_map = cylinder_map(*scan)
    k = np.flatnonzero(continuous(scan_map.radius))
    corners = scan.vertices[scan.faces[scan_map.triangle.ravel()[k]]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return map_points(scan_map.radius)[k], normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)


def fit_scan(head: HeadModel, directions: Directions, scan: Mesh) -> ScanFit:
    """Fit shape, expression, jaw, rotation, size and place to a scan, by point-to-plane distances.

    Args:
        head: the head model.
        directions: how many of its directions are used.
        scan: in canonical coordinates, millimetres.

    Raises:
        UserError: the benchmark sees nothing of the scan.
    """
    points, normals = judged_points(scan)
    if not len(points):
        raise UserError("the scan has no surface around the head's axis")
    sampled = np.linspace(0, len(points) - 1, min(_POINTS, len(points))).astype(int)
    target = torch.tensor(points[sampled] * _MM, dtype=torch.float32)
    target_normals = torch.tensor(normals[sampled], dtype=torch.float32)
    flame = Flame(head, directions.n_shape, directions.n_expression)
    among = torch.from_numpy(np.flatnonzero(head.regions["face"]))
    placing = {"rotation": torch.zeros(3), "log_scale": torch.zeros(1), "translation": _start(head, target)}
    sizes = {"shape": directions.n_shape, "expression": directions.n_expression, "jaw": 3}
    shaping = {name: torch.zeros(size) for name, size in sizes.items()}
    free = {name: value.requires_grad_() for name, value in (placing | shaping).items()}
    for steps, groups in ((_RIGID_STEPS, [placing]), (_STEPS, [placing, shaping])):
        rates = zip(groups, _RATES, strict=False)
        optimizer = torch.optim.Adam([{"params": list(group.values()), "lr": rate} for group, rate in rates])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            vertices = _placed(flame, free)
            if step % _MATCH_EVERY == 0:
                matched = _match(vertices.detach(), torch.tensor(head.faces), among, target, target_normals)
            loss = _distance(vertices, target, matched) / _MM**2
            loss = loss + _PRIOR * torch.stack([value.square().sum() for value in shaping.values()]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    fitted = {name: value.detach() for name, value in free.items()}
    placed = _placed(flame, fitted).numpy().astype(np.float64) / _MM
    scale = float(fitted.pop("log_scale").exp())
    return ScanFit(**fitted, scale=scale, vertices=placed)


def _start(head: HeadModel, target: Tensor) -> Tensor:
    """The translation that puts the face's foremost point on the scan's: the nearest points are then the right ones."""
    face = torch.tensor(head.template[head.regions["face"]], dtype=torch.float32)
    tip, foremost = face[face[:, 2].argmax()], target[target[:, 2].argmax()]
    return (foremost - tip) * torch.tensor([0.0, 1.0, 1.0])


def _placed(flame: Flame, free: dict[str, Tensor]) -> Tensor:
    still = torch.zeros(3)
    pose = torch.cat([still, still, free["jaw"], still, still])[None]
    vertices = flame(free["shape"][None], free["expression"][None], pose).vertices[0]
    turned = vertices @ rotation_from_axis_angle(free["rotation"]).T
    return free["log_scale"].exp() * turned + free["translation"]


class _Matched(NamedTuple):
    """Of P points: the vertex that each is nearest to, that vertex's normal, and whether the two belong together."""

    vertex: Tensor
    normal: Tensor
    kept: Tensor


def _match(vertices: Tensor, faces: Tensor, among: Tensor, target: Tensor, normals: Tensor) -> _Matched:
    own = vertex_normals(vertices[None], faces)[0]
    distance, nearest = cKDTree(vertices[among].numpy()).query(target.numpy())
    vertex = among[torch.from_numpy(nearest)]
    alike = (own[vertex] * normals).sum(1) > _ALIKE
    return _Matched(vertex, own[vertex], alike & (torch.from_numpy(distance) < _TOO_FAR))


def _distance(vertices: Tensor, target: Tensor, matched: _Matched) -> Tensor:
    """Mean squared distance to the tangent planes, growing only linearly where it is large; square metres."""
    missed = ((target - vertices[matched.vertex]) * matched.normal).sum(1)[matched.kept]
    return torch.nn.functional.huber_loss(missed, torch.zeros_like(missed), delta=_QUADRATIC)
