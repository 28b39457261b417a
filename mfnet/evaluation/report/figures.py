"""The report's charts: training curves, and error over pose, over angle and as a share of the images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mfnet.data.facescape import BINS
from mfnet.evaluation.methods.registry import label

_RESOLUTION = 96
_STEP_DEGREES = 15


def curves(folders: Mapping[str, Path], target: Path) -> None:
    """Landmark loss and held-out landmark error over the steps: name -> folder of a training's curves."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, folder in folders.items():
        losses = pd.read_csv(folder / "losses.csv")
        smooth = losses["loss_singlelmk"].rolling(5, min_periods=1).mean()
        left.plot(losses["step"], smooth, label=name, linewidth=1.2)
        validation = pd.read_csv(folder / "validation.csv")
        right.plot(validation["step"], 100 * validation["landmark_error_validation"], "o-", ms=3, label=name)
    left.set(xlabel="step", ylabel="landmark loss (equation 7)", yscale="log", title="training")
    right.set(xlabel="step", ylabel="landmark error (% of outer-eye distance)", yscale="log", title="held-out people")
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
        axis.bar(place, means, width, label=label(method), alpha=0.7)
        for x, name in zip(place, BINS, strict=True):
            values = wild.loc[wild["bin"] == name, "cd_mm"]
            axis.plot(np.full(len(values), x), values, ".", color="black", ms=2)
    axis.set(xticks=range(len(BINS)), xticklabels=BINS, xlabel="yaw (degrees)", ylabel="CD (mm)")
    axis.legend(fontsize=8)
    figure.savefig(target, dpi=_RESOLUTION, metadata={"Software": None})


def error_by_angle(per_image: dict[str, pd.DataFrame], target: Path) -> None:
    """CD over the angle to the camera: every image a dot, the means of fifteen degrees a line."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    settings = {"wild": "wild", "single_view_own_size": "lab, one view", "three_view_own_size": "lab, three views"}
    for axis, (setting, title) in zip(figure.subplots(1, 3, sharey=True), settings.items(), strict=True):
        for method, table in per_image.items():
            rows = table[(table["setting"] == setting) & table["cd_mm"].notna()]
            if rows.empty:
                continue
            (dots,) = axis.plot(rows["angle"], rows["cd_mm"], ".", ms=3, alpha=0.5)
            # A step's mean stands where its images are: the lab's angles are three, not a range.
            steps = rows[["angle", "cd_mm"]].groupby(rows["angle"].round(3) // _STEP_DEGREES).mean()
            axis.plot(steps["angle"], steps["cd_mm"], color=dots.get_color(), label=label(method))
        axis.set(xlabel="angle between face and camera (degrees)", title=title)
        axis.legend(fontsize=8)
    figure.axes[0].set_ylabel("CD (mm)")
    figure.savefig(target, dpi=_RESOLUTION, metadata={"Software": None})


def cumulative(per_image: dict[str, pd.DataFrame], target: Path) -> None:
    """Share of images below a CD: wild, and lab from three views, or from one for methods without three."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axis, setting in zip(figure.subplots(1, 2, sharey=True), ("wild", "three_view_own_size"), strict=True):
        for method, table in per_image.items():
            own_setting = setting if (table["setting"] == setting).any() else "single_view_own_size"
            values = table.loc[table["setting"] == own_setting, "cd_mm"]
            errors = np.sort(values.dropna())
            name = label(method) if own_setting == setting else f"{label(method)}, one view"
            axis.step(np.r_[0, errors], np.arange(len(errors) + 1) / max(len(values), 1), where="post", label=name)
        axis.set(xlabel="CD (mm)", xlim=(0, 12), title="wild" if setting == "wild" else "lab, three views")
        axis.legend(fontsize=8)
    figure.axes[0].set_ylabel("share of images")
    figure.savefig(target, dpi=_RESOLUTION, metadata={"Software": None})


def write_picture(path: Path, picture: np.ndarray) -> None:
    """PNG of an RGB uint8 picture."""
    cv2.imwrite(str(path), picture[..., ::-1])
