"""The optical flow estimator F of equation 6: torchvision's RAFT, or classical ones without weights."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from pickle import UnpicklingError

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, pad

from mfnet.errors import UserError
from mfnet.flow.authors_checkpoint import is_authors, torchvision_names

PACKAGED_WEIGHTS = Path(str(files("mfnet.flow").joinpath("weights"))) / "raft_small.safetensors"
_SMALLEST = 128


class FlowEstimator(nn.Module):
    """Flow from a first to a second image, its own parameters fixed; differentiable in both unless it says not."""

    differentiable = True

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Estimate.

        Args:
            first, second: [B, 3, H, W] RGB in [0, 1].

        Returns:
            [B, 2, H, W] pixels (dx, dy): what is at p in the first image is at p + flow in the second.
        """
        raise NotImplementedError


class RaftFlow(FlowEstimator):
    """RAFT on images enlarged so many times; its weights stay in single precision, images may be in any."""

    def __init__(self, model: nn.Module, updates: int, enlargement: int = 1) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.updates, self.enlargement = updates, enlargement

    def train(self, mode: bool = True) -> RaftFlow:
        """Stay in evaluation mode: the estimator is fixed while MFNet trains."""
        return super().train(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """See FlowEstimator."""
        return raft_refinements(self.model, first, second, self.updates, self.enlargement)[-1].to(first.dtype)


def raft_refinements(
    model: nn.Module, first: Tensor, second: Tensor, updates: int, enlargement: int = 1
) -> list[Tensor]:
    """RAFT's flow after each of its updates.

    RAFT compares features of 8 x 8 pixels, coarse beside a face of a hundred: enlarged, the face has more of them.

    Args:
        model: torchvision's RAFT.
        first, second: [B, 3, H, W] RGB in [0, 1]. What RAFT sees is padded to multiples of 8 and at least 128 pixels a
            side by repeating the border.
        updates: how many.
        enlargement: how many times larger RAFT sees the images.

    Returns:
        [B, 2, H, W] float32 each, pixels of the images as they were given.
    """
    height, width = (enlargement * side for side in first.shape[-2:])
    bottom, right = (max(_SMALLEST, -(-side // 8) * 8) - side for side in (height, width))
    # Torchvision's RAFT looks up correlations in single precision, whatever its weights are in.
    images = [image.float() * 2 - 1 for image in (first, second)]
    if enlargement > 1:
        images = [interpolate(image, size=(height, width), mode="bicubic", align_corners=False) for image in images]
    if bottom or right:
        images = [pad(image, (0, right, 0, bottom), mode="replicate") for image in images]
    flows = model(*images, num_flow_updates=updates)
    return [avg_pool2d(flow.float()[..., :height, :width], enlargement) / enlargement for flow in flows]


class ClassicalFlow(FlowEstimator):
    """Coarse-to-fine iterated Lucas-Kanade with a soft floor on the structure tensor; no weights.

    Lucas and Kanade, "An iterative image registration technique", IJCAI 1981.
    """

    def __init__(self, levels: int = 4, iterations: int = 4, window: int = 9, damping: float = 1e-3) -> None:
        super().__init__()
        self.levels, self.iterations, self.window, self.damping = levels, iterations, window, damping

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """See FlowEstimator."""
        pyramid = [(first.mean(1, keepdim=True), second.mean(1, keepdim=True))]
        for _ in range(self.levels - 1):
            pyramid.append((avg_pool2d(pyramid[-1][0], 2), avg_pool2d(pyramid[-1][1], 2)))
        flow = first.new_zeros(len(first), 2, *pyramid[-1][0].shape[-2:])
        for level, (here, there) in enumerate(reversed(pyramid)):
            if level:
                flow = 2 * interpolate(flow, size=here.shape[-2:], mode="bilinear", align_corners=False)
            for _ in range(self.iterations):
                flow = flow + self._increment(here, warp(there, flow))
        return flow

    def _increment(self, here: Tensor, warped: Tensor) -> Tensor:
        wider = pad(warped, (1, 1, 1, 1), mode="replicate")
        gradient_x = (wider[:, :, 1:-1, 2:] - wider[:, :, 1:-1, :-2]) / 2
        gradient_y = (wider[:, :, 2:, 1:-1] - wider[:, :, :-2, 1:-1]) / 2
        difference = warped - here

        def windowed(product: Tensor) -> Tensor:
            return avg_pool2d(product, self.window, 1, self.window // 2, count_include_pad=False)

        xx, yy = windowed(gradient_x**2) + self.damping, windowed(gradient_y**2) + self.damping
        xy = windowed(gradient_x * gradient_y)
        x, y = windowed(gradient_x * difference), windowed(gradient_y * difference)
        determinant = xx * yy - xy * xy
        step = torch.cat([-(yy * x - xy * y) / determinant, -(xx * y - xy * x) / determinant], 1)
        return step.clamp(-1.5, 1.5)


class DisFlow(FlowEstimator):
    """OpenCV's dense inverse search, without gradient: for flow that is a measurement.

    Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016.
    """

    differentiable = False

    def __init__(self) -> None:
        super().__init__()
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __reduce__(self) -> tuple[type[DisFlow], tuple[()]]:
        # OpenCV's search cannot be sent to another process, which makes its own.
        return DisFlow, ()

    @torch.no_grad()
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """See FlowEstimator."""
        pairs = zip(_grey(first), _grey(second), strict=True)
        flows = np.stack([self._search.calc(one, other, np.empty(0)) for one, other in pairs])
        return torch.from_numpy(flows).permute(0, 3, 1, 2).to(first.device)


def _grey(images: Tensor) -> np.ndarray:
    return (images.mean(1).clamp(0, 1) * 255).byte().cpu().numpy()


def warp(image: Tensor, flow: Tensor, outside: str = "border") -> Tensor:
    """The image [B, C, H, W] sampled at p + flow [B, 2, H, W] (pixels): the second image brought onto the first."""
    height, width = image.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    return grid_sample(image, grid, align_corners=False, padding_mode=outside)


def weights_files(name: str) -> list[Path]:
    """The file whose weights an estimator of this name has; empty where it has none, or downloads them."""
    path = PACKAGED_WEIGHTS if name == "packaged" else Path(name)
    return [path] if path.is_file() else []


def load_flow_estimator(name: str = "packaged", updates: int = 6) -> FlowEstimator:
    """An estimator by name.

    Args:
        name: "packaged" (this project's RAFT-small weights), "torchvision:small" or "torchvision:large" (their
            published weights, downloaded), "classical", "dis" (OpenCV's, without gradient), or the path of a state
            dict: torchvision's or RAFT's authors'.
        updates: RAFT's refinement steps.

    Raises:
        UserError: no such name or file, or the weights do not fit.
    """
    if name == "classical":
        return ClassicalFlow()
    if name == "dis":
        return DisFlow()
    if name.startswith("torchvision:"):
        return RaftFlow(_published(name.removeprefix("torchvision:")), updates)
    if not weights_files(name):
        raise UserError(
            f"'{name}' is neither packaged, torchvision:small, torchvision:large, classical, dis nor a file"
        )
    model, enlargement = read_raft(weights_files(name)[0])
    return RaftFlow(model, updates, enlargement)


def read_raft(path: Path) -> tuple[nn.Module, int]:
    """RAFT with a file's weights, and their enlargement: see `raft_refinements`.

    Raises:
        UserError: the file does not hold such weights.
    """
    from torchvision.models.optical_flow import raft_large, raft_small  # noqa: PLC0415  takes seconds, as below

    try:
        state, enlargement = _state_and_enlargement(path)
        if is_authors(state):
            state = torchvision_names(state)
        large = any(key.startswith("mask_predictor") for key in state)
        model = raft_large() if large else raft_small()
        model.load_state_dict({key: value.float() for key, value in state.items()})
    except (RuntimeError, OSError, ValueError, AttributeError, UnpicklingError, SafetensorError) as error:
        raise UserError(f"{path} does not hold RAFT's weights ({str(error)[:200]})") from error
    return model, enlargement


def _state_and_enlargement(path: Path) -> tuple[dict[str, Tensor], int]:
    if path.suffix != ".safetensors":
        return torch.load(path, weights_only=True, map_location="cpu"), 1
    with safe_open(path, "pt") as opened:
        enlargement = int((opened.metadata() or {}).get("enlargement", 1))
        if enlargement < 1:
            raise ValueError(f"enlargement {enlargement}")
        return {name: opened.get_tensor(name) for name in opened.keys()}, enlargement  # noqa: SIM118  no mapping


def _published(size: str) -> nn.Module:
    from torchvision.models import optical_flow  # noqa: PLC0415

    try:
        if size == "small":
            return optical_flow.raft_small(weights=optical_flow.Raft_Small_Weights.DEFAULT)
        if size == "large":
            return optical_flow.raft_large(weights=optical_flow.Raft_Large_Weights.DEFAULT)
    except OSError as error:
        raise UserError(
            f"torchvision:{size} needs its weights from the network or torch's hub folder ({error})"
        ) from error
    raise UserError(f"torchvision has no RAFT '{size}'; expected small or large")
