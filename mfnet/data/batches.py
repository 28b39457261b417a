"""Batches of triplets for training and validation, with geometric and colour jitter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from mfnet.data.landmarks import MIRROR
from mfnet.data.store import FaceStore
from mfnet.data.triplets import VIEWS
from mfnet.flow.store import PAIRS, FlowStore

_ALL_AGREE = 0.999


class TripletBatch(NamedTuple):
    """B triplets, views in the order front, left, right.

    images [B, 3, 3, S, S] in [0, 1]; landmarks [B, 3, 68, 2] in [-1, 1]. Of the ordered pairs (a, b) of
    `mfnet.flow.store.PAIRS`, over b: landmark_masks and consistency [B, 4, 1, h, w], and targets [B, 4, 2, h, w], where
    the precomputed flow says that the skin is in a, in a's [-1, 1]; None without flow.
    """

    images: Tensor
    landmarks: Tensor
    landmark_masks: Tensor
    consistency: Tensor
    targets: Tensor | None

    def to(self, device: torch.device) -> TripletBatch:
        """The batch on a device."""
        return TripletBatch(*(None if tensor is None else tensor.to(device) for tensor in self))  # type: ignore[arg-type]


class TripletData(torch.utils.data.Dataset[TripletBatch]):
    """One split of the triplets, decoded as they are asked for."""

    def __init__(self, triplets: pd.DataFrame, split: str, faces: FaceStore, flow: FlowStore) -> None:
        self.rows = triplets[triplets["split"] == split]
        self._faces, self._flow = faces, flow

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> TripletBatch:
        row = self.rows.iloc[position]
        images = np.stack([self._faces.image(row[f"{view}_shard"], row[f"{view}_row"]) for view in VIEWS])
        landmarks = np.stack([np.asarray(row[f"{view}_landmarks"], np.float32).reshape(68, 2) for view in VIEWS])
        pairs = [self._flow.pair(int(row.name), a, b) for a, b in PAIRS]
        targets = [pair.target for pair in pairs if pair.target is not None]
        return TripletBatch(
            torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255,
            torch.from_numpy(landmarks),
            torch.from_numpy(np.stack([pair.landmark_mask for pair in pairs])).float()[:, None],
            torch.from_numpy(np.stack([pair.consistent for pair in pairs])).float()[:, None],
            torch.from_numpy(np.stack(targets)) if len(targets) == len(pairs) else None,
        )

    def batch(self, positions: Iterable[int]) -> TripletBatch:
        """The triplets at these positions of the split."""
        parts = zip(*(self[position] for position in positions), strict=True)
        return TripletBatch(*(None if part[0] is None else torch.stack(part) for part in parts))  # type: ignore[arg-type]

    def spread(self, count: int) -> TripletData:
        """At most so many of the triplets, evenly spaced over the split."""
        if len(self) <= count:
            return self
        chosen = copy(self)
        chosen.rows = self.rows.iloc[np.linspace(0, len(self) - 1, count).round().astype(int)]
        return chosen

    def against_reference(self) -> TripletData:
        """The same with the landmarks that an error is taken against in place of the detector's."""
        judged = copy(self)
        judged.rows = self.rows.assign(**{f"{v}_landmarks": self.rows[f"{v}_landmarks_reference"] for v in VIEWS})
        return judged

    def batches(self, size: int) -> Iterator[TripletBatch]:
        """All triplets once, in order."""
        for part in torch.arange(len(self)).split(size):
            yield self.batch(part.tolist())


def augment(batch: TripletBatch, jitter: float, generator: torch.Generator) -> TripletBatch:
    """Mirror half of the triplets; shift, scale, brighten and tint every view a little.

    Args:
        batch: as loaded.
        jitter: standard deviation of shift (in half images) and scale.
        generator: of the draw.
    """
    n, views = batch.images.shape[:2]
    mirrored = torch.rand(n, generator=generator) < 0.5
    sign = torch.where(mirrored, -1.0, 1.0)
    # A mirrored left view is a right view, so the views and the pairs change places.
    images, landmarks = batch.images.clone(), batch.landmarks.clone()
    swap_views, swap_pairs = torch.tensor([0, 2, 1]), torch.tensor([2, 3, 0, 1])
    images[mirrored] = images[mirrored][:, swap_views]
    landmarks[mirrored] = landmarks[mirrored][:, swap_views][:, :, torch.from_numpy(MIRROR)]

    def swapped(of_pairs: Tensor) -> Tensor:
        return torch.where(mirrored[:, None, None, None, None], of_pairs[:, swap_pairs], of_pairs)

    scale = 1 + jitter * torch.randn(n, views, generator=generator).clamp(-2, 2)
    shift = jitter * torch.randn(n, views, 2, generator=generator).clamp(-2, 2)
    flip = torch.stack([sign, torch.ones_like(sign)], -1)[:, None]
    # new = scale * (flip * old) + shift, so the sampling grid is its inverse.
    inverse = torch.diag_embed(flip / scale[..., None])
    theta = torch.cat([inverse, -inverse @ shift[..., None]], -1)

    def move(pictures: Tensor, places: Tensor, mode: str) -> Tensor:
        flat = pictures.flatten(0, 1)
        grid = affine_grid(places.flatten(0, 1), list(flat.shape), align_corners=False)
        return grid_sample(flat, grid, mode=mode, align_corners=False).view_as(pictures)

    first_view, second_view = torch.tensor([[VIEWS.index(view) for view in pair] for pair in PAIRS]).unbind(1)
    over_b = theta[:, second_view]
    targets = batch.targets
    if targets is not None:
        placed = move(swapped(targets), over_b, "bilinear") * (flip * scale[..., None])[:, first_view, :, None, None]
        targets = placed + shift[:, first_view, :, None, None]
    gain = 1 + 0.12 * torch.randn(n, views, 1, 1, 1, generator=generator)
    tint = 1 + 0.05 * torch.randn(n, views, 3, 1, 1, generator=generator)
    return TripletBatch(
        (move(images, theta, "bilinear") * gain * tint).clamp(0, 1),
        landmarks * flip[:, :, None] * scale[..., None, None] + shift[:, :, None],
        move(swapped(batch.landmark_masks), over_b, "nearest"),
        # Only between samples that all agree may targets be interpolated.
        (move(swapped(batch.consistency), over_b, "bilinear") > _ALL_AGREE).float(),
        targets,
    )
