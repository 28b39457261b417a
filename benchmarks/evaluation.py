"""Our scoring of the FaceScape benchmark beside a transcription of its protocol: `python benchmarks/evaluation.py`.

Both score the mean head on the same generated items, or the worked cases in a folder (`--cases`), after a first item;
what an item takes with its files already read is printed as median milliseconds, and how far the scores lie apart.
The transcription follows the protocol step by step with trimesh, whose rays are embree's, and libigl's closest points;
neither is a dependency: `pip install embreex libigl`. Ours alone is timed where they are missing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import trimesh

from mfnet.config import Params, load_params
from mfnet.data.facescape import Benchmark, WildItem, read_obj
from mfnet.data.landmarks import landmark_detector
from mfnet.evaluation.benchmark import plan
from mfnet.evaluation.methods.jobs import Photographs, Placed
from mfnet.evaluation.methods.mean_head import MeanHeadMethod
from mfnet.evaluation.protocol.scores import Mesh, Score, score_lab, score_wild
from mfnet.fitting.landmark_fit import MeanHeadFit
from mfnet.settings import open_head

try:
    import embreex  # noqa: F401
    import igl
except ImportError:
    igl = None

N = 256
PUPIL_DISTANCE_MM = 62.85
_FAR = 400.0


class Item(NamedTuple):
    """One item to score: meshes as the benchmark stores them, and its camera."""

    setting: str
    truth: Mesh
    prediction: Mesh
    camera: dict[str, Any]


def generated_items(params: Params, count: int) -> Iterator[Item]:
    """The mean head on the first items of the generated tree, as many wild as lab."""
    root = params.data.facescape
    photographs = Photographs(root, landmark_detector(params.landmarks.detector, root))
    method = MeanHeadMethod(MeanHeadFit(open_head(params.head)), photographs, params.data.crop_scale)
    jobs = plan(Benchmark(root), params.evaluate.lab_views, three_view=False)
    spread = np.linspace(0, len(jobs) - 1, count).astype(int)
    for job, placed in zip([jobs[k] for k in spread], method([jobs[k] for k in spread]), strict=True):
        item, truth = job.item, Mesh(*read_obj(job.item.mesh))
        assert isinstance(placed, Placed)
        prediction = Mesh(placed.vertices, method.faces)
        camera = {"rotation": item.rotation, "head_center": item.head_center}
        if isinstance(item, WildItem):
            yield Item("wild", truth, prediction, camera | {"pupil_scale": item.pupil_scale})
        else:
            yield Item("lab", truth, prediction, camera | {"K": item.K, "Rt": item.Rt})


def worked_cases(folder: Path) -> Iterator[Item]:
    """The items of a folder of .npz files with gt_v, gt_f, pred_v, pred_f and the camera."""
    for path in sorted(folder.glob("*.npz")):
        case = np.load(path)
        meshes = (Mesh(case[f"{side}_v"].astype(float), case[f"{side}_f"].astype(int)) for side in ("gt", "pred"))
        setting = str(case["dataset"]).removeprefix("fs")
        names = ["head_center", *(["pupil_scale"] if setting == "wild" else ["K", "Rt"])]
        yield Item(setting, *meshes, {"rotation": case["R"], **{name: case[name] for name in names}})


def transcribed(item: Item) -> Score:
    """The protocol's sections 2 to 8, as they are written, on general libraries."""
    camera, wild = item.camera, item.setting == "wild"
    rotation, center = np.asarray(camera["rotation"]), np.asarray(camera["head_center"], float)
    truth, prediction = (np.array(mesh.vertices, float) for mesh in (item.truth, item.prediction))
    if wild:
        scale = float(camera["pupil_scale"])
        truth, prediction, center = truth * scale, prediction * scale, center * scale
        pixel = (np.arange(N) + 0.5) / 128 - 1
        x, y = np.meshgrid(pixel * scale, -pixel * scale)
        origins = np.stack([x, y, np.full_like(x, 1e4)], -1).reshape(-1, 3)
        directions = np.broadcast_to([0.0, 0, -1], origins.shape)
    else:
        K, Rt = np.asarray(camera["K"]), np.asarray(camera["Rt"])
        truth = truth * PUPIL_DISTANCE_MM @ Rt[:, :3].T + Rt[:, 3] * PUPIL_DISTANCE_MM
        prediction = prediction * PUPIL_DISTANCE_MM
        x, y = np.meshgrid(*(((np.arange(N) + 0.5) - K[axis, 2]) / K[axis, axis] for axis in (0, 1)))
        directions = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
        origins = np.zeros_like(directions)
    depths = []
    for vertices, mesh in ((truth, item.truth), (prediction, item.prediction)):
        depths.append(_first_hit_depth(vertices, np.asarray(mesh.faces), origins, directions, perspective=not wild))
    both = ~(np.isnan(depths[0]) | np.isnan(depths[1]))
    shift = float(np.median((depths[0] - depths[1])[both])) if both.any() else 0.0
    if wild:
        prediction = prediction - [0, 0, shift]
    else:
        mean = depths[0][both].mean()
        prediction = prediction * (mean / (mean - shift))
    heads = [Mesh((vertices - center) @ rotation, np.asarray(mesh.faces))
             for vertices, mesh in ((truth, item.truth), (prediction, item.prediction))]  # fmt: skip
    return _judged(*(_cylinder(head) for head in heads))


def _first_hit_depth(
    vertices: np.ndarray, faces: np.ndarray, origins: np.ndarray, directions: np.ndarray, perspective: bool
) -> np.ndarray:
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    toward = (normals * corners[:, 0]).sum(1) < 0 if perspective else normals[:, 2] > 0
    mesh = trimesh.Trimesh(vertices, faces[toward], process=False)
    places, rays, _ = mesh.ray.intersects_location(origins, directions, multiple_hits=False)
    depth = np.full(len(origins), np.nan)
    depth[rays] = places[:, 2] if perspective else -places[:, 2]
    return depth


class Cylinder(NamedTuple):
    """Radius [N, N], 0 where nothing is hit, and the normal [N, N, 3] of what is."""

    radius: np.ndarray
    normal: np.ndarray


def _cylinder(head: Mesh) -> Cylinder:
    angle, height = 2 * np.pi * np.arange(N) / (N - 1), 150 - 300 * np.arange(N) / (N - 1)
    outward = np.stack([-np.sin(angle), 0 * angle, -np.cos(angle)], -1)
    origins = (outward[None] * _FAR + np.array([0.0, 1, 0]) * height[:, None, None]).reshape(-1, 3)
    mesh = trimesh.Trimesh(*head, process=False)
    places, rays, triangles = mesh.ray.intersects_location(origins, -np.tile(outward, (N, 1)), multiple_hits=False)
    # Coming from outside the first hit is the farthest from the axis; beyond the axis lies another column.
    near = (places[:, [0, 2]] * origins[rays][:, [0, 2]]).sum(1) > 0
    radius, normal = np.zeros(N * N), np.zeros((N * N, 3))
    radius[rays[near]] = np.linalg.norm(places[near][:, [0, 2]], axis=1)
    normal[rays[near]] = mesh.face_normals[triangles[near]]
    return Cylinder(radius.reshape(N, N), normal.reshape(N, N, 3))


def _surface(radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Section 7's mesh: points of the used vertices, and triangles among them."""
    angle, height = 2 * np.pi * np.arange(N) / (N - 1), 150 - 300 * np.arange(N) / (N - 1)
    points = np.stack([-radius * np.sin(angle), np.repeat(height[:, None], N, 1), -radius * np.cos(angle)], -1)
    valid = radius != 0
    for move in ((-1, 0), (0, -1), (-1, -1)):
        valid &= np.abs(np.roll(radius, move, (0, 1)) - radius) < 15
    k = np.flatnonzero(valid)
    triangles = np.concatenate([np.stack([k, k + 1, k + N], 1), np.stack([k + N + 1, k + N, k + 1], 1)])
    used, numbered = np.unique(triangles, return_inverse=True)
    return points.reshape(-1, 3)[used], numbered.reshape(-1, 3)


def _judged(truth: Cylinder, prediction: Cylinder) -> Score:
    common = (truth.radius != 0) & (prediction.radius != 0)
    meshes = [_surface(np.where(common, one.radius, 0)) for one in (truth, prediction)]
    distances = [
        np.sqrt(igl.point_mesh_squared_distance(mine[0], *other)[0])
        for mine, other in (meshes, meshes[::-1])
    ]  # fmt: skip
    shifted = [one.normal[common] + 1 for one in (truth, prediction)]
    units = [normals / np.linalg.norm(normals, axis=1, keepdims=True) for normals in shifted]
    with np.errstate(invalid="ignore"):
        angles = np.arccos((units[0] * units[1]).sum(1))
    completeness = common.sum() / (truth.radius != 0).sum()
    return Score(float(np.concatenate(distances).mean()), float(angles.mean()), float(completeness))


def ours(item: Item) -> Score:
    """Through the library's own entry points."""
    score = score_wild if item.setting == "wild" else score_lab
    return score(item.truth, item.prediction, **item.camera)


def _timed(score: Callable[[Item], Score], items: list[Item]) -> tuple[list[Score], float]:
    """Scores, and median milliseconds an item; the first item is scored twice and counts once."""
    score(items[0])
    scores, times = [], []
    for item in items:
        start = time.perf_counter()
        scores.append(score(item))
        times.append(1e3 * (time.perf_counter() - start))
    return scores, statistics.median(times)


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description="Milliseconds an item of FaceScape's benchmark, ours and transcribed.")
    parser.add_argument("--items", type=int, default=24, help="of the generated tree in params.yaml")
    parser.add_argument("--cases", type=Path, help="a folder of worked cases to score instead")
    options = parser.parse_args()
    items = list(worked_cases(options.cases) if options.cases else generated_items(load_params(), options.items))
    mine, milliseconds = _timed(ours, items)
    row: dict[str, float] = {"items": len(items), "ours, ms": milliseconds}
    if igl is not None:
        theirs, peer = _timed(transcribed, items)
        row |= {"transcription, ms": peer, "ratio": peer / milliseconds}
        for name, one, other in zip(Score._fields, np.transpose(mine), np.transpose(theirs), strict=True):
            row[f"most apart, {name}"] = float(np.nanmax(np.abs(one - other)))
            row[f"only one has {name}"] = int((np.isnan(one) != np.isnan(other)).sum())
    print(pd.DataFrame([row]).to_markdown(index=False))


if __name__ == "__main__":
    main()
