"""A prediction's error over its surface: as a mesh that other programs open, and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import trimesh
from matplotlib import colormaps
from scipy.spatial import cKDTree
from torch import Tensor

from mfnet.evaluation.facescape import Mesh
from mfnet.render.rasterize import interpolate, rasterize
from mfnet.render.shading import vertex_normals

HEAT_LIMIT_MM = 10.0
_ANGLES = (-50, 0, 50)
_HALF_HEIGHT_MM = 135.0
_LIGHT = (0.2, 0.3, 0.93)
_PALETTE = colormaps["turbo"].with_extremes(bad="0.6")


class HeatMesh(NamedTuple):
    """A prediction in the head's coordinates (mm) with each vertex's error (mm), NaN where there is no scan."""

    mesh: Mesh
    error: np.ndarray


def surface_error(prediction: Mesh, truth: Mesh) -> np.ndarray:
    """Distance of each predicted vertex to the scan's surface, NaN where its nearest vertex is on the scan's rim.

    A scan ends before the back of the head; what lies beyond its rim has no error, only a distance.
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


def heat_picture(heat: HeatMesh, side: int = 220) -> np.ndarray:
    """The mesh from three angles coloured by its error, RGB uint8 [side, 3 side, 3]."""
    faces = torch.from_numpy(heat.mesh.faces)
    colours = torch.from_numpy(heat_colours(heat.error).copy()).float()
    pictures = []
    for angle in np.radians(_ANGLES):
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        turned = torch.from_numpy(heat.mesh.vertices @ turn.T).float()[None]
        projected = turned / _HALF_HEIGHT_MM * torch.tensor([1.0, -1.0, -1.0])
        fragments = rasterize(projected, faces, (side, side))
        picture = interpolate(fragments, (colours * brightness(turned[0], faces))[faces])[0]
        seen = (fragments.pix_to_face[0] >= 0)[..., None]
        pictures.append((torch.where(seen, picture, torch.ones_like(picture)).clamp(0, 1) * 255).byte().numpy())
    return np.concatenate(pictures, 1)
