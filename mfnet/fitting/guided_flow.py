"""Flow between photographs that lie far apart, guided by a head that the packaged network or a fit places in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mfnet.config import FitParams
from mfnet.data.pairs import PAIR_VIEWS, PAIRS, REVERSED_PAIRS
from mfnet.fitting.landmark_fit import LandmarkFit
from mfnet.flow import FlowEstimator
from mfnet.flow.consistency import forward_backward_consistency
from mfnet.head import Directions, HeadModel
from mfnet.method.covisible import pair_landmark_masks
from mfnet.method.multiview import correspondences
from mfnet.method.network import Parameters, in_front_of
from mfnet.method.start import load_start, resized
from mfnet.method.views import Decoder, Scene, ViewPairs
from mfnet.render.camera import Lens


class Guide(NamedTuple):
    """What places a head model in photographs.

    directions: how many of the head's it tells.
    place: photographs [B, N, 3, S, S] in [0, 1], their landmarks [B, N, 68, 2] in [-1, 1] and, where known, the
        pinholes of the unrolled views: to the heads in them.
    """

    directions: Directions
    place: Callable[[Tensor, Tensor, Lens | None], Parameters]


class MeasuredFlow(NamedTuple):
    """Flow of B triplets' pairs (a, b), in the order of `mfnet.data.pairs.PAIRS`.

    flow: [B, P, 2, H, W] pixels, from a to b.
    agreement: [B, P, H, W] bool over b, where the flow of both directions is to be trusted.
    """

    flow: Tensor
    agreement: Tensor


def by_landmarks(head: HeadModel, directions: Directions, fit: FitParams) -> Guide:
    """A fit of any head model to the landmarks."""
    place = LandmarkFit(head, directions, fit)
    return Guide(directions, lambda images, landmarks, lens: place(landmarks, lens))


def by_network(head: HeadModel) -> Guide | None:
    """The packaged network, which costs nothing beside the flow; None for a head that is not its own."""
    start, config = load_start()
    if head.fingerprint != config.head:
        return None
    network = start.mfnet

    @torch.no_grad()
    def place(images: Tensor, landmarks: Tensor, lens: Lens | None) -> Parameters:
        return in_front_of(network.to(images.device)(resized(images, config.image_size)), lens)

    return Guide(config.directions, place)


class GuidedFlow:
    """Flow of a triplet's pairs: by a head in the photographs as far as it goes, and by an estimator from there.

    Between two views skin moves by a quarter of the crop, which no estimator follows in photographs of this size; and
    where one finds nothing both ways, the two agree. Between b's photograph and the render of a's texture in b skin
    moves by a pixel or two.
    """

    def __init__(self, head: HeadModel, guide: Guide, image_size: int, estimator: FlowEstimator) -> None:
        """Guide by a head model.

        Args:
            head: the head model.
            guide: places it.
            image_size: of the photographs' squares.
            estimator: of the flow.
        """
        self._place = guide.place
        # Skin and light fill only what a does not see, which the mask leaves out.
        plain = guide.directions._replace(n_albedo=1)
        self._decoder = Decoder.of(head, plain, image_size, image_size)
        self._estimator = estimator

    def __call__(self, images: Tensor, landmarks: Tensor, yaws: Tensor, lens: Lens | None = None) -> MeasuredFlow:
        """Measure B triplets.

        Args:
            images: [B, 3, 3, S, S] in [0, 1].
            landmarks: [B, 3, 68, 2] in [-1, 1].
            yaws: [B, 3] degrees, of the cameras.
            lens: of the unrolled views, where the focal lengths are known.
        """
        decoder, size = self._decoder.to(images.device), images.shape[-1]
        head = self._place(images, landmarks, lens)
        head = head._replace(albedo=head.albedo.new_zeros(*images.shape[:2], 1))
        scene = Scene(head, images, lens)
        masks = pair_landmark_masks(landmarks, yaws, PAIR_VIEWS, size)
        backward, trusted = [], []
        # One pair of all triplets after another, which needs a quarter of the memory.
        for place, pair in enumerate(PAIR_VIEWS):
            pairs = ViewPairs.of_views([pair], masks[:, place : place + 1], images.shape[1])
            measured = correspondences(decoder, scene, pairs, self._estimator)
            backward.append((measured.source - measured.target) * (size / 2))
            trusted.append(measured.mask > 0)
        forward = [backward[place] for place in REVERSED_PAIRS]
        agreement = [
            trusted[place] & forward_backward_consistency(backward[place], forward[place])
            for place in range(len(PAIRS))
        ]
        return MeasuredFlow(torch.stack(forward, 1), torch.stack(agreement, 1)[:, :, 0])
