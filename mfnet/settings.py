"""Open what params.yaml names; an error begins with the key that names it.

Each function imports what it opens, so that a stage loads no more than it uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mfnet.errors import about

if TYPE_CHECKING:
    from mfnet.config import FlowParams, HeadParams, LandmarksParams, Params
    from mfnet.data.facescape import Benchmark
    from mfnet.data.landmarks import LandmarkDetector
    from mfnet.flow import FlowEstimator
    from mfnet.head import Directions, HeadModel
    from mfnet.reconstruct import CropSetting


def open_head(params: HeadParams) -> HeadModel:
    """The head that the section names, from one file or from FLAME's four; see `HeadModel.load`."""
    from mfnet.head import HeadModel  # noqa: PLC0415

    with about("head"):
        return HeadModel.load(params.path, params.landmarks, texture=params.texture, masks=params.masks, uv=params.uv)


def directions(params: HeadParams) -> Directions:
    """How many of the head's directions are used."""
    from mfnet.head import Directions  # noqa: PLC0415

    return Directions(*params.counts)


def open_flow_estimator(params: FlowParams) -> FlowEstimator:
    """F of equation 6."""
    from mfnet.flow import load_flow_estimator  # noqa: PLC0415

    with about("flow.estimator"):
        return load_flow_estimator(params.estimator, params.updates)


def open_detector(params: LandmarksParams, root: Path) -> LandmarkDetector:
    """The detector of the landmarks of a data set at root."""
    from mfnet.data.landmarks import landmark_detector  # noqa: PLC0415
    from mfnet.reconstruct.packaged_detector import PackagedDetector  # noqa: PLC0415

    with about("landmarks.detector"):
        return PackagedDetector() if params.detector == "packaged" else landmark_detector(params.detector, root)


def open_benchmark(root: Path) -> Benchmark:
    """FaceScape's benchmark."""
    from mfnet.data.facescape import Benchmark  # noqa: PLC0415

    with about("data.facescape"):
        return Benchmark(root)


def crop_setting(params: Params) -> CropSetting:
    """How photographs are cropped, and what is told of them."""
    from mfnet.reconstruct import CropSetting  # noqa: PLC0415

    data = params.data
    return CropSetting(directions(params.head), data.image_size, data.crop_scale, params.network.assumed_focal)
