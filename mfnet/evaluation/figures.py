"""The report's pictures: heat maps on meshes, training curves, reconstructions, error over the pose bins."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure

from mfnet.data.facescape import BINS
from mfnet.evaluation.benchmark import HeatMesh
from mfnet.evaluation.facescape import Mesh
from mfnet.render.rasterize import interpolate, rasterize
from mfnet.render.shading import vertex_normals

HEAT_LIMIT_MM = 10.0
_ANGLES = (-50, 0, 50)
_HALF_HEIGHT_MM = 135.0
_RESOLUTION = 96
mpl.rcParams["svg.hashsalt"] = "mfnet"


def write_heat_mesh(path: Path, heat: HeatMesh) -> None:
    """Binary PLY with a colour and the property error_mm per vertex; millimetres, the head's coordinates."""
    colours = (colormaps["turbo"](np.clip(heat.error / HEAT_LIMIT_MM, 0, 1))[:, :3] * 255).astype(np.uint8)
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


def heat_picture(heat: HeatMesh, side: int = 220) -> np.ndarray:
    """The mesh from three angles coloured by its error, RGB uint8 [side, 3 side, 3]."""
    faces = torch.from_numpy(heat.mesh.faces)
    colours = torch.from_numpy(colormaps["turbo"](np.clip(heat.error / HEAT_LIMIT_MM, 0, 1))[:, :3].copy()).float()
    pictures = []
    for angle in np.radians(_ANGLES):
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        turned = torch.from_numpy(heat.mesh.vertices @ turn.T).float()[None]
        projected = turned / _HALF_HEIGHT_MM * torch.tensor([1.0, -1.0, -1.0])
        fragments = rasterize(projected, faces, (side, side))
        normals = vertex_normals(turned, faces)[0]
        light = (normals @ torch.tensor([0.2, 0.3, 0.93])).clamp(0)[:, None] * 0.7 + 0.3
        picture = interpolate(fragments, (colours * light)[faces])[0]
        seen = (fragments.pix_to_face[0] >= 0)[..., None]
        pictures.append((torch.where(seen, picture, torch.ones_like(picture)).clamp(0, 1) * 255).byte().numpy())
    return np.concatenate(pictures, 1)


def heat_sheet(folder: Path, methods: list[str], target: Path) -> None:
    """One row per item, one block of three angles per method, with a colour bar in millimetres."""
    stems = sorted({path.stem for method in methods for path in (folder / method).glob("*.ply")})
    stems = [stem for stem in stems if all((folder / method / f"{stem}.ply").is_file() for method in methods)]
    stems = stems or sorted(path.stem for path in (folder / methods[0]).glob("*.ply"))
    figure = Figure(figsize=(6.2 * len(methods), 2.1 * len(stems) + 0.8))
    axes = figure.subplots(len(stems), len(methods), squeeze=False)
    for row, stem in enumerate(stems):
        for column, method in enumerate(methods):
            axis = axes[row][column]
            path = folder / method / f"{stem}.ply"
            if path.is_file():
                axis.imshow(heat_picture(read_heat_mesh(path)))
            axis.set_title(f"{method}, {stem}", fontsize=9)
            axis.set_axis_off()
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, HEAT_LIMIT_MM), "turbo")
    figure.colorbar(scale, ax=axes, label="distance to the scan (mm)", shrink=0.6)
    figure.savefig(target, dpi=_RESOLUTION, metadata={"Software": None})


def curves(folder: Path, variants: list[str], target: Path) -> None:
    """Training loss and held-out landmark error of every variant over the steps."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for variant in variants:
        losses = pd.read_csv(folder / variant / "losses.csv")
        smooth = losses["loss_singlelmk"].rolling(5, min_periods=1).mean()
        left.plot(losses["step"], smooth, label=variant, linewidth=1.2)
        validation = pd.read_csv(folder / variant / "validation.csv")
        right.plot(validation["step"], 100 * validation["landmark_error_validation"], "o-", ms=3, label=variant)
    left.set(xlabel="step", ylabel="landmark loss (equation 7)", yscale="log", title="training")
    right.set(xlabel="step", ylabel="landmark error (% of outer-eye distance)", yscale="log", title="held-out people")
    right.axhline(5, color="grey", linewidth=0.8, linestyle="--")
    right.legend(fontsize=8)
    figure.savefig(target, dpi=_RESOLUTION, metadata={"Software": None})


def error_by_bin(per_image: dict[str, pd.DataFrame], target: Path) -> None:
    """CD of every method per pose bin of the wild set: the mean, and every image as a dot."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(per_image)
    for order, (method, table) in enumerate(per_image.items()):
        wild = table[table["setting"] == "wild"]
        place = np.arange(len(BINS)) + (order - (len(per_image) - 1) / 2) * width
        means = [wild.loc[wild["bin"] == name, "cd_mm"].mean() for name in BINS]
        axis.bar(place, means, width, label=method, alpha=0.7)
        for x, name in zip(place, BINS, strict=True):
            values = wild.loc[wild["bin"] == name, "cd_mm"]
            axis.plot(np.full(len(values), x), values, ".", color="black", ms=2)
    axis.set(xticks=range(len(BINS)), xticklabels=BINS, xlabel="yaw (degrees)", ylabel="CD (mm)")
    axis.legend(fontsize=8)
    figure.savefig(target, dpi=_RESOLUTION, metadata={"Software": None})


def write_picture(path: Path, picture: np.ndarray) -> None:
    """PNG of an RGB uint8 picture."""
    cv2.imwrite(str(path), picture[..., ::-1])
