"""The sizes of a detector's errors, against the published figures that `mfnet.synthesis.detector` names."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mfnet.data.landmarks import MIRROR, OUTER_EYES
from mfnet.head import Flame, HeadModel, anny_head
from mfnet.synthesis.detector import detected


def seen(head: HeadModel, yaw: float) -> np.ndarray:
    """The mean head's landmarks [68, 2] in pixels."""
    pose = torch.zeros(1, 15)
    pose[0, 1] = np.radians(yaw)
    points = Flame(head, landmarks_only=True)(torch.zeros(1, 100), torch.zeros(1, 50), pose).landmarks
    return points[0, :, :2].numpy().astype(float) * [2000, -2000]


def distances(head: HeadModel, yaws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean distance in pixels and the box's side, [N, 2]."""
    rows = []
    for yaw in yaws:
        exact = seen(head, yaw)
        off = np.linalg.norm(detected(exact, yaw, rng) - exact, axis=1).mean()
        rows.append((off, np.sqrt(np.ptp(exact, axis=0).prod())))
    return np.array(rows)


def test_a_frontal_face_is_off_by_three_to_four_per_cent_of_the_outer_eyes(
    head: HeadModel, rng: np.random.Generator
) -> None:
    exact = seen(head, 0)
    right, left = OUTER_EYES
    eyes = np.linalg.norm(exact[right] - exact[left])
    assert 0.03 < distances(head, rng.uniform(-5, 5, 100), rng)[:, 0].mean() / eyes < 0.04


@pytest.mark.parametrize(("low", "high", "share"), [(0, 30, 0.0275), (30, 60, 0.0351), (60, 90, 0.0461)])
def test_errors_grow_with_the_yaw_as_on_aflw2000(
    head: HeadModel, rng: np.random.Generator, low: float, high: float, share: float
) -> None:
    off, box = distances(head, rng.uniform(low, high, 120) * rng.choice([-1, 1], 120), rng).T
    assert (off / box).mean() == pytest.approx(share, rel=0.1)


def test_a_third_of_the_variance_is_shared_by_a_yaw(head: HeadModel, rng: np.random.Generator) -> None:
    shares = []
    for yaw in (-60, -30, -10, 0, 10, 30, 60):
        exact = seen(head, yaw)
        errors = np.stack([detected(exact, yaw, rng) - exact for _ in range(200)])
        shares.append((errors.mean(0) ** 2).sum() / (errors**2).mean(0).sum())
    assert np.mean(shares) == pytest.approx(1 / 3, abs=0.07)


def test_neighbours_err_alike_and_the_contour_slides(head: HeadModel, rng: np.random.Generator) -> None:
    exact = seen(head, 0)
    errors = np.stack([detected(exact, 0, rng) - exact for _ in range(800)])
    errors -= errors.mean(0)
    beside, far = np.corrcoef(errors[:, [5, 6, 12], 1].T)[0, 1:]
    assert beside > 0.3 > abs(far)
    # At the chin the contour runs across the picture.
    assert errors[:, 8, 0].std() > 2 * errors[:, 8, 1].std()


@settings(max_examples=30, deadline=None)
@given(yaw=st.floats(-90, 90), scale=st.floats(0, 3))
def test_what_is_shared_is_mirrored_with_the_face_and_scales(yaw: float, scale: float) -> None:
    class Still:
        """Draws nothing of the photograph's own."""

        @staticmethod
        def normal(size: tuple[int, int]) -> np.ndarray:
            return np.zeros(size)

    exact = seen(anny_head(), 20)
    mirrored = (exact * [-1, 1])[MIRROR]
    here = detected(exact, yaw, Still(), scale) - exact  # type: ignore[arg-type]
    there = detected(mirrored, -yaw, Still(), scale) - mirrored  # type: ignore[arg-type]
    np.testing.assert_allclose((there * [-1, 1])[MIRROR], here, atol=1e-6)
    unit = detected(exact, yaw, Still()) - exact  # type: ignore[arg-type]
    np.testing.assert_allclose(here, scale * unit, atol=1e-9)
