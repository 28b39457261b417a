"""Fits to landmarks whose heads are known."""

import numpy as np
import torch

from mfnet.config import FitParams
from mfnet.fitting.landmark_fit import LandmarkFit, MeanHeadFit
from mfnet.head import Directions, Flame, HeadModel
from mfnet.method.network import decode, mean_parameters


def test_mean_head_fit_finds_a_known_pose(head: HeadModel) -> None:
    fit = MeanHeadFit(head)
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    expected = (head.template @ turn.T * 9 + [0.1, -0.2, 0]) * [1, -1, -1]
    landmarks = (fit._landmarks[25] + fit._centre) @ turn.T * 9 + [0.1, -0.2, 0]
    placed = fit.fit(landmarks[:, :2] * [1, -1])
    np.testing.assert_allclose(placed[:, :2], expected[:, :2], atol=2e-3)
    shift = (placed - expected)[:, 2]
    assert np.ptp(shift) < 5e-3


def test_landmark_fit_recovers_people_from_three_views(head: HeadModel) -> None:
    """Landmarks of known heads in known poses: the fit projects onto them and comes nearer than the mean head."""
    flame = Flame(head)
    start = mean_parameters(2, 3, Directions())
    yaw = torch.tensor([0.0, -0.6, 0.6]).expand(2, 3)
    truth = start._replace(
        shape=torch.randn(2, 100).clamp(-2, 2), expression=0.5 * torch.randn(2, 50),
        jaw=torch.tensor([[0.1, 0, 0]] * 2),
        rotation=torch.stack([0.1 * torch.randn(2, 3), yaw, 0.05 * torch.randn(2, 3)], -1),
        camera=0.05 * torch.randn(2, 3, 3),
    )  # fmt: skip
    landmarks = decode(flame, truth).landmarks[..., :2].view(2, 3, 68, 2)
    fitted = LandmarkFit(head, Directions(), FitParams())(landmarks)
    projected = decode(flame, fitted).landmarks[..., :2].view(2, 3, 68, 2)
    assert (projected - landmarks).norm(dim=-1).mean() < 0.012

    def vertices(shape: torch.Tensor) -> torch.Tensor:
        return flame(shape, torch.zeros(2, 50), torch.zeros(2, 15)).vertices[:, head.regions["face"]]

    error = (vertices(fitted.shape) - vertices(truth.shape)).norm(dim=-1).mean()
    of_the_mean = (vertices(start.shape) - vertices(truth.shape)).norm(dim=-1).mean()
    assert error < 0.8 * of_the_mean
    assert (fitted.rotation - truth.rotation).abs().mean() < 0.05
