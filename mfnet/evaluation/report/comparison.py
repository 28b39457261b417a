"""Methods side by side in the photographs, as in the paper's figures 4, 5 and 7: overlay, shape and error."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mfnet.data.crop import read_image
from mfnet.data.facescape import IMAGE_SIZE, Benchmark, LabItem, WildItem
from mfnet.evaluation.heat import HEAT_LIMIT_MM, brightness, heat_colours, read_heat_mesh
from mfnet.evaluation.methods.registry import label
from mfnet.render.rasterize import interpolate, rasterize

_SIDE = 160
_RESOLUTION = 96


def in_photograph(item: WildItem | LabItem, canonical: np.ndarray) -> np.ndarray:
    """Aligned vertices [V, 3] (mm, the head's coordinates) in their photograph's [-1, 1]: x right, y down, z away."""
    camera = canonical @ item.rotation.T
    if isinstance(item, WildItem):
        return (camera / item.pupil_scale + item.head_center) * [1, -1, -1]
    camera = camera + item.head_center
    pixels = camera @ item.K.T
    return np.column_stack([pixels[:, :2] / pixels[:, 2:] * (2 / IMAGE_SIZE) - 1, camera[:, 2]])


def comparison_sheet(benchmark: Benchmark, folder: Path, methods: list[str], target: Path) -> None:
    """One row per item that has heat meshes: the photograph, and per method overlay, shape and error.

    Args:
        benchmark: whose photographs are shown.
        folder: with `<method>/{wild,lab}_<stem>.ply`, from `mfnet.evaluation.heat`.
        methods: from left to right.
        target: the picture to write.
    """
    rows: list[WildItem | LabItem] = [*benchmark.wild(), *benchmark.lab()]
    rows = [item for item in rows if any((folder / method / heat_name(item)).is_file() for method in methods)]
    assert rows, "every method that could be scored has heat meshes"
    widths = [1] + [3] * len(methods)
    figure = Figure(figsize=(1.25 * sum(widths), 1.35 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    for row, item in enumerate(rows):
        photograph = read_image(item.image)
        if photograph is None:
            photograph = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 255, np.uint8)
        axes[row][0].imshow(photograph)
        axes[row][0].set_title(item.stem, fontsize=8)
        for column, method in enumerate(methods, 1):
            mesh = folder / method / heat_name(item)
            if mesh.is_file():
                axes[row][column].imshow(_three_pictures(item, photograph, mesh))
                axes[row][column].set_title(label(method), fontsize=8)
    for axis in axes.ravel():
        axis.set_axis_off()
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, HEAT_LIMIT_MM), "turbo")
    figure.colorbar(scale, ax=axes, label="distance to the scan (mm)", shrink=0.4)
    figure.savefig(target, dpi=_RESOLUTION, metadata={"Software": None})


def heat_name(item: WildItem | LabItem) -> str:
    """File of an item's heat mesh in a method's folder."""
    return f"{'wild' if isinstance(item, WildItem) else 'lab'}_{item.stem}.ply"


def _three_pictures(item: WildItem | LabItem, photograph: np.ndarray, file: Path) -> np.ndarray:
    """The shape over the photograph, the shape alone and its error, RGB in [0, 1], [side, 3 side, 3]."""
    heat = read_heat_mesh(file)
    faces = torch.from_numpy(heat.mesh.faces)
    fragments = rasterize(
        torch.from_numpy(in_photograph(item, heat.mesh.vertices)).float()[None], faces, (_SIDE, _SIDE)
    )
    # Towards the viewer, y up, for both kinds of item.
    turned = heat.mesh.vertices @ item.rotation.T * ([1, 1, 1] if isinstance(item, WildItem) else [1, -1, -1])
    light = brightness(torch.from_numpy(turned).float(), faces)
    grey, coloured = light.expand(-1, 3), torch.from_numpy(heat_colours(heat.error).copy()).float() * light
    covered = (fragments.pix_to_face[0] >= 0)[..., None]

    def drawn(colours: Tensor, behind: Tensor) -> Tensor:
        return torch.where(covered, interpolate(fragments, colours[faces])[0], behind)

    small = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255
    small = torch.nn.functional.interpolate(small, size=(_SIDE, _SIDE), mode="area")[0].permute(1, 2, 0)
    white = torch.ones_like(small)
    overlay = torch.where(covered, 0.35 * small + 0.65 * drawn(grey, white), small)
    return torch.cat([overlay, drawn(grey, white), drawn(coloured, white)], 1).clamp(0, 1).numpy()
