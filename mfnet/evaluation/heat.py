"""A prediction's error over its surface: as a mesh that other programs open, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import trimesh
from matplotlib import colormaps
from scipy.spatial import cKDTree
from torch import Tensor

from mfnet.data.facescape import WildItem
from mfnet.evaluation.benchmark import ground_truth
from mfnet.evaluation.methods.jobs import Job, Submission
from mfnet.evaluation.protocol.scores import Mesh, align_lab, align_wild
from mfnet.render.shading import vertex_normals

HEAT_LIMIT_MM = 10.0
_LIGHT = (0.2, 0.3, 0.93)
_PALETTE = colormaps["turbo"].with_extremes(bad="0.6")


class HeatMesh(NamedTuple):
    """A prediction in the head's coordinates (mm) with each vertex's error (mm), NaN where there is no scan."""

    mesh: Mesh
    error: np.ndarray


def surface_error(prediction: Mesh, truth: Mesh) -> np.ndarray:
    """Distance of each predicted vertex to the scan's surface, NaN where its nearest vertex is on the scan's rim.

    A scan ends in front of the back of the head; what lies beyond its rim has no error, only a distance.
    """
    nearest = cKDTree(truth.vertices).query(prediction.vertices)[1]
    edges = np.sort(truth.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    rim = np.zeros(len(truth.vertices), bool)
    rim[edges[count == 1]] = True
    error, judged = np.full(len(prediction.vertices), np.nan), ~rim[nearest]
    if judged.any():
        scan = trimesh.Trimesh(truth.vertices, truth.faces, process=False)
        error[judged] = trimesh.proximity.closest_point(scan, prediction.vertices[judged])[1]
    return error


def heat_colours(error: np.ndarray) -> np.ndarray:
    """RGB [V, 3] in [0, 1] of errors [V] in mm, grey where there is no error."""
    return _PALETTE(np.ma.masked_invalid(np.clip(error / HEAT_LIMIT_MM, 0, 1)))[:, :3]


def heat_palette() -> np.ndarray:
    """[256, 3] uint8: the colours from no error to the limit, and last the grey of what has none."""
    steps = np.linspace(0, HEAT_LIMIT_MM, 255)
    return (heat_colours(np.append(steps, np.nan)) * 255).round().astype(np.uint8)


def write_heat_mesh(path: Path, heat: HeatMesh) -> None:
    """Binary PLY with a colour and the property error_mm per vertex; millimetres, the head's coordinates."""
    colours = (heat_colours(heat.error) * 255).astype(np.uint8)
    layout = [("position", "<f4", 3), ("colour", "u1", 3), ("error", "<f4")]
    vertices = np.zeros(len(heat.error), layout)
    vertices["position"], vertices["colour"], vertices["error"] = heat.mesh.vertices, colours, heat.error
    faces = np.zeros(len(heat.mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, heat.mesh.faces
    properties = ["float x", "float y", "float z", "uchar red", "uchar green", "uchar blue", "float error_mm"]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property {name}" for name in properties]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    path.write_bytes("\n".join(header).encode() + b"\n" + vertices.tobytes() + faces.tobytes())


def read_heat_mesh(path: Path) -> HeatMesh:
    """What `write_heat_mesh` wrote."""
    header, body = path.read_bytes().split(b"end_header\n", 1)
    counts = [int(line.split()[2]) for line in header.decode().splitlines() if line.startswith("element")]
    layout = [("position", "<f4", 3), ("colour", "u1", 3), ("error", "<f4")]
    vertices = np.frombuffer(body, layout, counts[0])
    faces = np.frombuffer(body, [("count", "u1"), ("corners", "<i4", 3)], counts[1], vertices.nbytes)
    mesh = Mesh(vertices["position"].astype(np.float64), faces["corners"].astype(np.int64))
    return HeatMesh(mesh, vertices["error"].astype(np.float64))


def brightness(vertices: Tensor, faces: Tensor) -> Tensor:
    """How bright each vertex [V, 3] is, [V, 1] in [0.3, 1], lit from beside the viewer, who is at large z, y up."""
    normals = vertex_normals(vertices[None], faces)[0]
    return (normals @ torch.tensor(_LIGHT)).clamp(0)[:, None] * 0.7 + 0.3


def heat_mesh(job: Job, submission: Submission, faces: np.ndarray) -> HeatMesh | None:
    """Error of a prediction over its surface, in the lab at its own size; None where there is none, or it cannot be
    aligned."""
    if isinstance(submission, str):
        return None
    vertices = submission.vertices if submission.own_size is None else submission.own_size
    item, truth, prediction = job.item, ground_truth(job.item.mesh), Mesh(vertices, faces)
    if isinstance(item, WildItem):
        aligned = align_wild(truth, prediction, item.pupil_scale, item.rotation, item.head_center)
    else:
        in_view = align_lab(truth, prediction, item.K, item.Rt, item.rotation, item.head_center)
        if in_view is None:
            return None
        aligned = in_view
    return HeatMesh(aligned.prediction, surface_error(aligned.prediction, aligned.truth))


def heat_jobs(jobs: Sequence[Job], scores: pd.DataFrame, setting: str, count: int) -> list[Job]:
    """So many of a setting's jobs, spread evenly, the same for every method; for one without a score the nearest."""
    scored = scores[(scores["setting"] == setting) & scores["cd_mm"].notna()]["stem"]
    jobs = [job for job in jobs if job.setting == setting]
    among = np.flatnonzero([job.item.stem in set(scored) for job in jobs])
    places = np.linspace(0, len(jobs) - 1, min(count, len(jobs))).astype(int)
    nearest = [among[np.abs(among - place).argmin()] for place in places if len(among)]
    return [jobs[k] for k in sorted(set(nearest))]
