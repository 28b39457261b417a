"""The losses of a batch by name: equation 11's terms, equation 6 over some pairs and in the form that is asked for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mfnet.config import LossParams
from mfnet.data.batches import TripletBatch
from mfnet.flow import FlowEstimator
from mfnet.head import Directions, Flame, HeadModel
from mfnet.method.losses import Evidence, compute_losses, landmark_weights, multiview_optical, multiview_projection
from mfnet.method.multiview import measured_pairs, project_pairs, render_pairs
from mfnet.method.network import Parameters, decode, in_front_of
from mfnet.method.views import Decoder, Scene, ViewPairs


class Instruments(NamedTuple):
    """What turns parameters into losses: two decoders, one of the landmarks alone, and F of equation 6."""

    decoder: Decoder
    landmark_flame: Flame
    estimator: FlowEstimator

    @staticmethod
    def of(
        head: HeadModel, directions: Directions, image_size: int, texture_size: int, estimator: FlowEstimator
    ) -> Instruments:
        """Those of a head model; see `Decoder.of`."""
        landmarks = Flame(head, directions.n_shape, directions.n_expression, landmarks_only=True)
        return Instruments(Decoder.of(head, directions, image_size, texture_size), landmarks, estimator)

    def to(self, device: torch.device) -> Instruments:
        """The same on a device."""
        return Instruments(self.decoder.to(device), self.landmark_flame.to(device), self.estimator.to(device))


def losses_of(
    instruments: Instruments, parameters: Parameters, batch: TripletBatch, loss: LossParams, selection: Tensor | None
) -> dict[str, Tensor]:
    """All terms of equation 11; the multi-view one over the selected pairs (None: 0)."""
    parameters = in_front_of(parameters, batch.lens)
    projected = decode(instruments.landmark_flame, parameters, lens=batch.lens).landmarks[..., :2]

    def multiview() -> Tensor:
        if selection is None or not loss.weights["multiop"]:
            return projected.new_zeros(())
        return multiview_term(instruments, Scene(parameters, batch.images, batch.lens), batch, loss, selection)

    weights = landmark_weights(loss.landmark_weights, projected)
    return compute_losses(Evidence(batch.landmarks.flatten(0, 1), projected, parameters, multiview, weights))


def multiview_term(
    instruments: Instruments, scene: Scene, batch: TripletBatch, loss: LossParams, selection: Tensor
) -> Tensor:
    """Equation 6 over selected pairs [M, 2], in the form that the loss names."""
    decoder, estimator, form = instruments.decoder, instruments.estimator, loss.multiop_form
    pairs = ViewPairs.of_batch(batch, selection, consistency=loss.consistency or form == "precomputed")
    if form == "in_loop":
        rendered = render_pairs(decoder, scene, pairs)
        return multiview_optical(estimator, rendered.photograph, rendered.rendered, rendered.mask)
    projected = (
        project_pairs(decoder, scene, pairs)
        if form == "precomputed"
        else measured_pairs(decoder, scene, pairs, estimator)
    )
    return multiview_projection(projected.projected, projected.target, projected.mask)
