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

from mfnet.data.faces import FaceStore
from mfnet.data.flow_store import FlowStore
from mfnet.data.landmarks import MIRROR
from mfnet.data.pairs import MIRRORED_PAIRS, MIRRORED_VIEWS, PAIR_VIEWS, VIEWS, PairEvidence
from mfnet.data.triplets import lenses_of
from mfnet.render.camera import Lens

_ALL_AGREE = 0.999


class TripletBatch(NamedTuple):
    """B triplets, views in the order front, left, right.

    images [B, 3, 3, S, S] in [0, 1]; landmarks [B, 3, 68, 2] in [-1, 1]; pairs [B, P, ...] in the order of
    `mfnet.data.pairs.PAIRS`; lens of the B x 3 unrolled views where their focal lengths are known and to be used.
    """

    images: Tensor
    landmarks: Tensor
    pairs: PairEvidence
    lens: Lens | None = None

    def to(self, device: torch.device) -> TripletBatch:
        """The batch on a device."""
        lens = None if self.lens is None else self.lens.to(device)
        return TripletBatch(self.images.to(device), self.landmarks.to(device), self.pairs.to(device), lens)


class TripletData(torch.utils.data.Dataset[TripletBatch]):
    """One split of the triplets, decoded as they are asked for."""

    def __init__(
        self, triplets: pd.DataFrame, split: str, faces: FaceStore, flow: FlowStore, in_perspective: bool = False
    ) -> None:
        """Open a split.

        Args:
            triplets: of `mfnet.data.triplets.mine_triplets`.
            split: train or validation.
            faces: their crops.
            flow: theirs.
            in_perspective: whether batches have the pinholes that are known.

        Raises:
            UserError: the flow is that of other triplets.
        """
        self.rows = triplets[triplets["split"] == split]
        flow.require(self.rows.index)
        self._faces, self._flow = faces, flow
        self._in_perspective = in_perspective and lenses_of(self.rows) is not None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> TripletBatch:
        row = self.rows.iloc[position]
        images = np.stack([self._faces.image(row[f"{view}_shard"], row[f"{view}_row"]) for view in VIEWS])
        landmarks = np.stack([np.asarray(row[f"{view}_landmarks"], np.float32).reshape(68, 2) for view in VIEWS])
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        lens = lenses_of(self.rows.iloc[[position]]) if self._in_perspective else None
        return TripletBatch(pixels, torch.from_numpy(landmarks), self._flow.pairs(str(row.name)), lens)

    def batch(self, positions: Iterable[int]) -> TripletBatch:
        """The triplets at these positions of the split."""
        images, landmarks, pairs, lenses = zip(*(self[position] for position in positions), strict=True)
        lens = Lens.joined(lenses) if self._in_perspective else None
        return TripletBatch(torch.stack(images), torch.stack(landmarks), PairEvidence.stack(list(pairs)), lens)

    def spread(self, count: int) -> TripletData:
        """At most so many of the triplets, evenly spaced over the split."""
        if len(self) <= count:
            return self
        fewer = copy(self)
        fewer.rows = self.rows.iloc[np.linspace(0, len(self) - 1, count).round().astype(int)]
        return fewer

    def against_reference(self) -> TripletData:
        """The same with the landmarks that an error is taken against in place of the detector's."""
        judged = copy(self)
        judged.rows = self.rows.assign(**{f"{v}_landmarks": self.rows[f"{v}_landmarks_reference"] for v in VIEWS})
        return judged

    def batches(self, size: int) -> Iterator[TripletBatch]:
        """All triplets once, in order."""
        for part in torch.arange(len(self)).split(size):
            yield self.batch(part.tolist())


class _Jitter(NamedTuple):
    """new = scale * (flip * old) + shift of every view, in its [-1, 1]: flip [B, 1, 2], scale [B, N], shift [B, N, 2];
    mirrored [B]."""

    mirrored: Tensor
    flip: Tensor
    scale: Tensor
    shift: Tensor

    @staticmethod
    def drawn(triplets: int, views: int, jitter: float, generator: torch.Generator) -> _Jitter:
        mirrored = torch.rand(triplets, generator=generator) < 0.5
        sign = torch.where(mirrored, -1.0, 1.0)
        scale = 1 + jitter * torch.randn(triplets, views, generator=generator).clamp(-2, 2)
        shift = jitter * torch.randn(triplets, views, 2, generator=generator).clamp(-2, 2)
        return _Jitter(mirrored, torch.stack([sign, torch.ones_like(sign)], -1)[:, None], scale, shift)

    def sampling(self) -> Tensor:
        """[B, N, 2, 3], where a new picture's places lie in the old one."""
        inverse = torch.diag_embed(self.flip / self.scale[..., None])
        return torch.cat([inverse, -inverse @ self.shift[..., None]], -1)


def augment(batch: TripletBatch, jitter: float, generator: torch.Generator) -> TripletBatch:
    """Mirror half of the triplets; shift, scale, brighten and tint every view a little.

    Args:
        batch: as loaded.
        jitter: standard deviation of shift (in half images) and scale.
        generator: of the draw.
    """
    n, views = batch.images.shape[:2]
    drawn = _Jitter.drawn(n, views, jitter, generator)
    sampling, mirrored = drawn.sampling(), drawn.mirrored
    images, landmarks = batch.images.clone(), batch.landmarks.clone()
    images[mirrored] = images[mirrored][:, MIRRORED_VIEWS]
    landmarks[mirrored] = landmarks[mirrored][:, MIRRORED_VIEWS][:, :, torch.from_numpy(MIRROR)]
    lens = None if batch.lens is None else _moved_lens(batch.lens, drawn)
    gain = 1 + 0.12 * torch.randn(n, views, 1, 1, 1, generator=generator)
    tint = 1 + 0.05 * torch.randn(n, views, 3, 1, 1, generator=generator)
    return TripletBatch(
        (_moved(images, sampling, "bilinear") * gain * tint).clamp(0, 1),
        landmarks * drawn.flip[:, :, None] * drawn.scale[..., None, None] + drawn.shift[:, :, None],
        _moved_pairs(batch.pairs, drawn, sampling),
        lens,
    )


def _moved_lens(lens: Lens, drawn: _Jitter) -> Lens:
    n, views = drawn.scale.shape
    focal, principal = lens.focal.view(n, views).clone(), lens.principal.view(n, views, 2).clone()
    for part in (focal, principal):
        part[drawn.mirrored] = part[drawn.mirrored][:, MIRRORED_VIEWS]
    flip = drawn.flip.expand(-1, views, -1).flatten(0, 1)
    return Lens(focal.flatten(), principal.flatten(0, 1)).moved(flip, drawn.scale.flatten(), drawn.shift.flatten(0, 1))


def _moved(pictures: Tensor, sampling: Tensor, mode: str) -> Tensor:
    """Pictures [B, N, C, H, W] by the sampling [B, N, 2, 3] of each."""
    flat = pictures.flatten(0, 1)
    grid = affine_grid(sampling.flatten(0, 1), list(flat.shape), align_corners=False)
    return grid_sample(flat, grid, mode=mode, align_corners=False).view_as(pictures)


def _moved_pairs(pairs: PairEvidence, drawn: _Jitter, sampling: Tensor) -> PairEvidence:
    assert pairs.consistency is not None
    view_a, view_b = torch.tensor(PAIR_VIEWS).unbind(1)
    over_b = sampling[:, view_b]

    def swapped(of_pairs: Tensor) -> Tensor:
        return torch.where(drawn.mirrored[:, None, None, None, None], of_pairs[:, MIRRORED_PAIRS], of_pairs)

    target = pairs.target
    if target is not None:
        placed = _moved(swapped(target), over_b, "bilinear")
        scaled = placed * (drawn.flip * drawn.scale[..., None])[:, view_a, :, None, None]
        target = scaled + drawn.shift[:, view_a, :, None, None]
    return PairEvidence(
        _moved(swapped(pairs.landmark_mask), over_b, "nearest"),
        # Only between samples that all agree may targets be interpolated.
        (_moved(swapped(pairs.consistency), over_b, "bilinear") > _ALL_AGREE).float(),
        target,
    )
