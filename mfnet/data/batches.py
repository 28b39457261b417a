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
    `mfnet.data.pairs.PAIRS`, None where nobody asks for them; lens of the B x 3 unrolled views where their focal
    lengths are known and to be used.
    """

    images: Tensor
    landmarks: Tensor
    pairs: PairEvidence | None
    lens: Lens | None = None

    def to(self, device: torch.device) -> TripletBatch:
        """The batch on a device."""
        pairs = None if self.pairs is None else self.pairs.to(device)
        lens = None if self.lens is None else self.lens.to(device)
        return TripletBatch(self.images.to(device), self.landmarks.to(device), pairs, lens)


class TripletData:
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
        flow.require(triplets.index[triplets["split"] == split])
        self._faces, self._flow, self._in_perspective = faces, flow, in_perspective
        self._open(triplets[triplets["split"] == split])

    def _open(self, rows: pd.DataFrame) -> TripletData:
        """Make these the triplets; their columns as arrays, for a table is slow to pick single rows from."""
        self.rows = rows
        self._images = [list(zip(rows[f"{v}_shard"], rows[f"{v}_row"], strict=True)) for v in VIEWS]
        landmarks = [np.stack(rows[f"{v}_landmarks"]).reshape(-1, 68, 2) for v in VIEWS] if len(rows) else []
        self._landmarks = torch.from_numpy(np.stack(landmarks, 1).astype(np.float32)) if landmarks else torch.zeros(0)
        lens = lenses_of(rows) if self._in_perspective and len(rows) else None
        self._lenses = None if lens is None else torch.from_numpy(lens.numbers()).view(-1, len(VIEWS), 3)
        return self

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: Iterable[int], with_pairs: bool = True) -> TripletBatch:
        """The triplets at these positions of the split; without their pairs where nothing looks at them."""
        positions = list(positions)
        images = np.stack([[self._faces.image(*view[place]) for view in self._images] for place in positions])
        pixels = torch.from_numpy(images).permute(0, 1, 4, 2, 3).float() / 255
        pairs = [self._flow.pairs(str(self.rows.index[place])) for place in positions] if with_pairs else None
        lens = None if self._lenses is None else Lens.of_numbers(self._lenses[positions].flatten(0, 1).numpy())
        return TripletBatch(
            pixels, self._landmarks[positions], None if pairs is None else PairEvidence.stack(pairs), lens
        )

    def spread(self, count: int) -> TripletData:
        """At most so many of the triplets, evenly spaced over the split."""
        if len(self) <= count:
            return self
        return copy(self)._open(self.rows.iloc[np.linspace(0, len(self) - 1, count).round().astype(int)])

    def against_reference(self) -> TripletData:
        """The same with the landmarks that an error is taken against in place of the detector's."""
        reference = {f"{v}_landmarks": self.rows[f"{v}_landmarks_reference"] for v in VIEWS}
        return copy(self)._open(self.rows.assign(**reference))

    def batches(self, size: int, with_pairs: bool = True) -> Iterator[TripletBatch]:
        """All triplets once, in order."""
        for part in torch.arange(len(self)).split(size):
            yield self.batch(part.tolist(), with_pairs)


class _Jitter(NamedTuple):
    """new = scale * (flip * old) + shift of every view, in its [-1, 1]: flip [B, 1, 2], scale [B, N], shift [B, N, 2];
    mirrored [B]."""

    mirrored: Tensor
    flip: Tensor
    scale: Tensor
    shift: Tensor

    def of(self, rows: Tensor) -> _Jitter:
        """That of some of the triplets."""
        return _Jitter(*(part[rows] for part in self))

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


def augment(
    batch: TripletBatch, jitter: float, generator: torch.Generator, rows: Tensor | None = None, of: int | None = None
) -> TripletBatch:
    """Mirror half of the triplets; shift, scale, brighten and tint every view a little.

    Args:
        batch: as loaded.
        jitter: standard deviation of shift (in half images) and scale.
        generator: of the draw.
        rows: which triplets these are of the `of` that are drawn for; None: they are all.
    """
    rows, views = torch.arange(len(batch.images)) if rows is None else rows, batch.images.shape[1]
    n = of or len(rows)
    drawn = _Jitter.drawn(n, views, jitter, generator).of(rows)
    sampling, mirrored = drawn.sampling(), drawn.mirrored
    images, landmarks = batch.images.clone(), batch.landmarks.clone()
    images[mirrored] = images[mirrored][:, MIRRORED_VIEWS]
    landmarks[mirrored] = landmarks[mirrored][:, MIRRORED_VIEWS][:, :, torch.from_numpy(MIRROR)]
    lens = None if batch.lens is None else _moved_lens(batch.lens, drawn)
    gain = 1 + 0.12 * torch.randn(n, views, 1, 1, 1, generator=generator)[rows]
    tint = 1 + 0.05 * torch.randn(n, views, 3, 1, 1, generator=generator)[rows]
    return TripletBatch(
        (_moved(images, sampling, "bilinear") * gain * tint).clamp(0, 1),
        landmarks * drawn.flip[:, :, None] * drawn.scale[..., None, None] + drawn.shift[:, :, None],
        None if batch.pairs is None else _moved_pairs(batch.pairs, drawn, sampling),
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
