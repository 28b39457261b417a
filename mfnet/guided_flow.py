"""Flow between photographs that lie far apart, guided by a head fitted to their landmarks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mfnet.config import FitParams, HeadParams
from mfnet.covisible import landmark_mask
from mfnet.data.batches import TripletBatch
from mfnet.data.triplets import VIEWS
from mfnet.flow import FlowEstimator
from mfnet.flow.store import PAIRS, TripletFlow, forward_backward_consistency
from mfnet.head import Flame, HeadModel
from mfnet.landmark_fit import LandmarkFit
from mfnet.multiview import ViewPairs, correspondences
from mfnet.render import Renderer


class GuidedFlow:
    """Flow of a triplet's pairs: by the fitted head as far as it goes, and by an estimator from there.

    Between two views skin moves by a quarter of the crop, which no estimator follows in photographs of this size; and
    where one finds nothing both ways, the two agree. Between b's photograph and the render of a's texture in b skin
    moves by a pixel or two.
    """

    def __init__(
        self, head: HeadModel, params: HeadParams, fit: FitParams, image_size: int, estimator: FlowEstimator
    ) -> None:
        # Skin and light fill only what a does not see, which the mask leaves out.
        plain = params.model_copy(update={"n_albedo": 1})
        self._fit = LandmarkFit(head, plain, fit)
        self._flame = Flame(head, params.n_shape, params.n_expression)
        self._renderer = Renderer(head, image_size, image_size, n_albedo=1)
        self._estimator = estimator

    def __call__(self, images: Tensor, landmarks: Tensor, yaws: np.ndarray) -> TripletFlow:
        """Measure B triplets.

        Args:
            images: [B, 3, 3, S, S] in [0, 1].
            landmarks: [B, 3, 68, 2] in [-1, 1].
            yaws: [B, 3] degrees, of the cameras.
        """
        flame, renderer = self._flame.to(images.device), self._renderer.to(images.device)
        fitted = self._fit(landmarks)
        masks = _landmark_masks(landmarks, yaws, images.shape[-1]).to(images)
        batch = TripletBatch(images, landmarks, masks, masks, None)
        everyone = torch.arange(len(images), device=images.device)
        backward, trusted = {}, {}
        for place, pair in enumerate(PAIRS):
            pairs = ViewPairs.of_triplets(torch.stack([everyone, torch.full_like(everyone, place)], 1))
            found = correspondences(flame, renderer, self._estimator, fitted, batch, pairs)
            backward[pair] = (found.source - found.target) * (images.shape[-1] / 2)
            trusted[pair] = found.mask > 0
        forward = {(a, b): backward[b, a] for a, b in PAIRS}
        agreement = {
            pair: trusted[pair] & forward_backward_consistency(backward[pair], forward[pair]) for pair in PAIRS
        }
        return TripletFlow(forward, agreement)


def _landmark_masks(landmarks: Tensor, yaws: np.ndarray, size: int) -> Tensor:
    """MB of every pair over b, [B, 4, 1, S, S]."""
    places = [(VIEWS.index(a), VIEWS.index(b)) for a, b in PAIRS]
    masks = [
        [landmark_mask(points[b], yaw[a], yaw[b], size) for a, b in places]
        for points, yaw in zip(landmarks.cpu().numpy(), yaws, strict=True)
    ]
    return torch.from_numpy(np.array(masks))[:, :, None].float()
