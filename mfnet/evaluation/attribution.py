"""What holds accuracy back: a prediction's shape, expression, rotation and camera, each replaced by its true value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from mfnet.data.facescape import LabItem
from mfnet.errors import UserError
from mfnet.evaluation.benchmark import run
from mfnet.evaluation.methods.jobs import Given, Job, Photographs
from mfnet.evaluation.methods.oracle import ScanFit, fit_item
from mfnet.evaluation.methods.parametric import in_camera, squares_of
from mfnet.evaluation.protocol.submission import image_cube, lab_mesh, perspective_mesh
from mfnet.evaluation.statistics.uncertainty import mean_over_people
from mfnet.head import Flame, rotation_from_axis_angle
from mfnet.method.network import TYPICAL_SCALE, Parameters, decode, in_front_of
from mfnet.parallel import parallel_map
from mfnet.reconstruct import Reconstructor, Square
from mfnet.render.camera import Crop, Lens

# In FLAME's axes y and z point the other way than in the camera's.
_FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
_REPLACED = {
    "true shape": ("shape",),
    "true expression": ("expression", "jaw"),
    "true rotation": ("rotation",),
    "true camera": ("camera",),
    "true rotation and camera": ("rotation", "camera"),
    "all of them": ("shape", "expression", "jaw", "rotation", "camera"),
}


def attribution(
    reconstructor: Reconstructor, photographs: Photographs, jobs: Sequence[Job], workers: int | None
) -> pd.DataFrame:
    """CD of whole heads in the lab as an orthographic method's, in front of the true pinhole, and there part by part.

    The true values are those of the oracle fit: the head model's nearest to the scan. A replaced camera is where the
    head is and how far away; in front of the true pinhole a head keeps its own size.

    Args:
        reconstructor: on the CPU; its pinholes, if it takes any, are not given to it.
        photographs: of the benchmark.
        jobs: of the lab; those without a face in every photograph, or a scan that can be fitted, are left out.
        workers: processes.

    Returns:
        Rows with `what`, `cd_mm`, `low` and `high`, its 95 % interval over people, `cd_mm_f1200` and so on, those of
        each focal length (in pixels; the shorter the nearer), `strict_cd_mm`, where depth is aligned to the end, and
        `n`, the items that every form of a prediction has a score for.

    Raises:
        UserError: there is no such item.
    """
    first = {job.item.mesh: job.item for job in reversed(jobs)}
    fit = partial(fit_item, head=reconstructor.head, directions=reconstructor.setting.directions)
    fits = dict(zip(first, parallel_map(fit, list(first.values()), "oracle fit", workers), strict=True))
    submissions: dict[str, list[np.ndarray | str]] = {}
    both = []
    for job in jobs:
        fitted, squares = fits[job.item.mesh], _squares(reconstructor, photographs, job)
        if not isinstance(squares, str) and isinstance(fitted, ScanFit):
            both.append(job)
            for name, vertices in _forms(reconstructor, squares, job, fitted).items():
                submissions.setdefault(name, []).append(vertices)
    jobs = both

    scores: dict[str, list[pd.DataFrame]] = {}
    for name, predictions in submissions.items():
        given = Given(reconstructor.head.faces, jobs, predictions)
        scores[name] = [run(given, jobs, workers, strict=strict) for strict in (False, True)]
    distances = [table["cd_mm"].to_numpy() for tables in scores.values() for table in tables]
    scored = np.isfinite(distances).all(0) if distances else np.zeros(0, bool)
    if not scored.any():
        raise UserError(f"attribution: not one of {len(jobs)} lab items could be scored; see data.facescape")
    return pd.DataFrame([_row(name, *(table[scored] for table in tables)) for name, tables in scores.items()])


def _row(name: str, table: pd.DataFrame, strict: pd.DataFrame) -> dict[str, object]:
    mean, low, high, n, *_ = mean_over_people(table["cd_mm"].to_numpy(), table["person"].to_numpy())
    near = {f"cd_mm_f{int(focal)}": rows["cd_mm"].mean() for focal, rows in table.groupby("focal", sort=False)}
    strictly = {"strict_cd_mm": strict["cd_mm"].mean(), "n": n}
    return {"what": name, "cd_mm": mean, "low": low, "high": high, **near, **strictly}


def _forms(reconstructor: Reconstructor, squares: list[Square], job: Job, fit: ScanFit) -> dict[str, np.ndarray]:
    """What one prediction is handed in as: name -> vertices [V, 3] as the benchmark takes them."""
    assert isinstance(job.item, LabItem)
    flame = reconstructor.flame
    predicted = _scored_view(reconstructor.predict([squares]).parameters)
    lens = squares[0].crop.lens(job.item.K)
    true = true_parameters(flame, fit, job.item, lens)
    in_pinhole = in_front_of(predicted, lens)
    pinhole = {"in front of the true pinhole": in_pinhole}
    for name, parts in _REPLACED.items():
        pinhole[name] = in_pinhole._replace(**{part: getattr(true, part) for part in parts})
    unshaped = {part: torch.zeros_like(getattr(true, part)) for part in ("shape", "expression", "jaw")}
    pinhole["mean head, true pose"] = true._replace(**unshaped)
    crop = squares[0].crop
    return {
        "as it is": _orthographic(flame, predicted, crop, job.item),
        **{name: perspective_mesh(in_camera(flame, form, lens)[0]) for name, form in pinhole.items()},
        "all of them, as it is": _orthographic(flame, true, crop, job.item),
    }


def _squares(reconstructor: Reconstructor, photographs: Photographs, job: Job) -> list[Square] | str:
    """As `squares_of`, without pinholes."""
    return squares_of(reconstructor, photographs, job._replace(intrinsics=()))


def _scored_view(parameters: Parameters) -> Parameters:
    """Of one person in several views, the first view alone."""
    first = {name: getattr(parameters, name)[:, :1] for name in ("rotation", "camera", "albedo", "light")}
    return parameters._replace(**first)


def true_parameters(flame: Flame, fit: ScanFit, item: LabItem, lens: Lens) -> Parameters:
    """The oracle fit as parameters of one view in front of that item's pinhole; albedo and light are none.

    Args:
        flame: the decoder.
        fit: of the item's scan.
        item: of the lab.
        lens: of a crop of its photograph.
    """
    to_camera = torch.tensor(item.rotation, dtype=torch.float32)
    root = _FLIP @ to_camera @ rotation_from_axis_angle(fit.rotation)
    rotation = _axis_angle(root)
    still = torch.zeros(3)
    out = flame(fit.shape[None], fit.expression[None], torch.cat([rotation, still, fit.jaw, still, still])[None])
    # The decoder turns the head about its root joint, the fit about the origin.
    joint = out.joints[0, 0]
    anchor = (out.landmarks[0].mean(0) - joint) @ root + joint
    centre = torch.tensor(item.head_center, dtype=torch.float32) / 1000
    # A head that the fit has made larger is, at its own size, that much nearer.
    place = _FLIP @ root @ anchor + (to_camera @ fit.translation + centre) / fit.scale
    scale = lens.focal / place[2]
    place_in_crop = lens.focal * place[:2] / place[2] + lens.principal[0]
    camera = torch.cat([(scale / TYPICAL_SCALE).log(), place_in_crop])
    none = torch.zeros(1, 1, 0)
    return Parameters(
        fit.shape[None], fit.expression[None], fit.jaw[None], rotation[None, None], camera[None, None], none, none
    )


def _axis_angle(rotation: Tensor) -> Tensor:
    return torch.from_numpy(Rotation.from_matrix(rotation.numpy().astype(np.float64)).as_rotvec()).float()


@torch.no_grad()
def _orthographic(flame: Flame, parameters: Parameters, crop: Crop, item: LabItem) -> np.ndarray:
    return lab_mesh(image_cube(decode(flame, parameters).projected[0].cpu().numpy(), crop), item.focal)
