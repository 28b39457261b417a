"""How a landmark detector errs: what its landmarks are of a photograph whose true ones are known.

Sizes, all of them published figures. Near-frontal faces: 3 to 4 per cent of the outer-eye distance on average, as
detectors have on 300-W (SAN 3.98, LAB 3.49, HRNet 3.32: Dong et al. 2018, Wu et al. 2018, Wang et al. 2020), which is
2.2 per cent of the face's box. With the yaw as on AFLW2000-3D: 2.75, 3.51, 4.61 per cent of the box at 0-30, 30-60,
60-90 degrees (PRNet, Feng et al. 2018), which with the former lie on one line. How much at which landmark:
`mfnet.data.landmarks.LANDMARK_SPREAD`; how much more along a line of landmarks than across it: read from the same
uncertainties.

Of the variance a third is shared by all photographs of one yaw: every detector was taught by annotators who agreed with
each other more than with the skull. The rest is a photograph's own, and alike for neighbours.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mfnet.data.landmarks import LANDMARK_SPREAD, MIRROR, N_LANDMARKS

# Of the box, the root of its area: at no yaw, and more per degree.
_FRONTAL, _PER_DEGREE = 0.022, 0.00032
_SHARED = 1 / 3
# Lines of landmarks: first, behind the last, closed or not; along it errors are so many times those across.
_LINES = (
    (0, 17, False, 3.2), (17, 22, False, 2.3), (22, 27, False, 2.3), (27, 31, False, 2.0), (31, 36, False, 1.4),
    (36, 42, True, 1.4), (42, 48, True, 1.4), (48, 60, True, 1.5), (60, 68, True, 1.5),
)  # fmt: skip
# Errors of landmarks so many places apart on a line are alike by 1/e.
_ALIKE = 2.0
# Shared errors are so many waves of the yaw. Beyond so many degrees the far side is hidden by and by: a detector
# imagines it, and is so much further off at a full profile than at what it sees.
_HARMONICS, _HIDDEN_FROM, _IMAGINED = 3, 40.0, 0.6
_FAR = (np.r_[9:17, 22:27, 42:48], np.r_[0:8, 17:22, 36:42])
# Along a line that runs the other way in a mirror, and across the bridge of the nose, which does not.
_MIRRORED = np.tile([-1.0, 1.0], (N_LANDMARKS, 1))
_MIRRORED[27:31] = [1.0, -1.0]
_SEED, _CALIBRATED_ON = 300, 2000


def detected(exact: np.ndarray, yaw: float, rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    """What a detector finds where the landmarks are.

    Args:
        exact: [68, 2] pixels.
        yaw: degrees, + is the nose to image right.
        rng: draws the photograph's own part.
        scale: times the published sizes; 0 is exact.

    Returns:
        [68, 2] pixels.
    """
    box = np.sqrt(np.ptp(exact, axis=0).prod())
    size = scale * box * (_FRONTAL + _PER_DEGREE * min(abs(yaw), 90.0))
    own = np.linalg.cholesky(_likeness()) @ rng.normal(size=(N_LANDMARKS, 2))
    error = np.sqrt(_SHARED) * _shared(yaw) + np.sqrt(1 - _SHARED) * own
    return exact + size * _per_unit() * _along_lines(exact, error) * _sizes(yaw)[:, None]


def _along_lines(points: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Standard errors [68, 2] along and across, as offsets in the picture, every landmark's of one size."""
    offset = np.empty((N_LANDMARKS, 2))
    for first, behind, closed, ratio in _LINES:
        line = points[first:behind]
        tangent = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
        tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
        across = np.column_stack([-tangent[:, 1], tangent[:, 0]])
        both = np.array([ratio, 1.0]) / np.hypot(ratio, 1)
        along = error[first:behind] * both
        offset[first:behind] = along[:, :1] * tangent + along[:, 1:] * across
    return offset


def _sizes(yaw: float) -> np.ndarray:
    """[68] how far off a detector is at each landmark of a face so turned, beside the others."""
    hidden = np.clip((abs(yaw) - _HIDDEN_FROM) / (90 - _HIDDEN_FROM), 0, 1)
    sizes = LANDMARK_SPREAD.copy()
    sizes[_FAR[0 if yaw > 0 else 1]] *= 1 + _IMAGINED * hidden
    return sizes * LANDMARK_SPREAD.mean() / sizes.mean()


@lru_cache(maxsize=1)
def _likeness() -> np.ndarray:
    """[68, 68] correlation of errors: neighbours on a line are alike."""
    likeness = np.eye(N_LANDMARKS)
    for first, behind, closed, _ in _LINES:
        place = np.arange(behind - first)
        apart = np.abs(place[:, None] - place)
        if closed:
            apart = np.minimum(apart, len(place) - apart)
        likeness[first:behind, first:behind] = np.exp(-apart / _ALIKE)
    return likeness + 1e-9 * np.eye(N_LANDMARKS)


def _shared(yaw: float) -> np.ndarray:
    """[68, 2] the part that all photographs of a yaw share, along and across; mirrored for the opposite yaw."""
    rng = np.random.default_rng(_SEED)
    root = np.linalg.cholesky(_likeness())
    angle = np.radians(yaw)
    right, left = np.zeros((N_LANDMARKS, 2)), np.zeros((N_LANDMARKS, 2))
    for harmonic in range(_HARMONICS):
        cosine, sine = (root @ rng.normal(size=(N_LANDMARKS, 2)) for _ in range(2))
        right += np.cos(harmonic * angle) * cosine + np.sin(harmonic * angle) * sine
        left += np.cos(harmonic * angle) * cosine - np.sin(harmonic * angle) * sine
    # Seen in a mirror a line runs the other way, and its left is its right.
    mirrored = left[MIRROR] * _MIRRORED
    return (right + mirrored) / np.sqrt(2 * _HARMONICS)


@lru_cache(maxsize=1)
def _per_unit() -> float:
    """What makes the mean distance over landmarks, yaws and photographs one."""
    rng = np.random.default_rng(_SEED + 1)
    root = np.linalg.cholesky(_likeness())
    shares = np.concatenate([
        np.tile(np.array([ratio, 1.0]) / np.hypot(ratio, 1), (behind - first, 1)) for first, behind, _, ratio in _LINES
    ])  # fmt: skip
    lengths = []
    for yaw in rng.uniform(-90, 90, _CALIBRATED_ON):
        error = np.sqrt(_SHARED) * _shared(yaw) + np.sqrt(1 - _SHARED) * (root @ rng.normal(size=(N_LANDMARKS, 2)))
        lengths.append((np.linalg.norm(error * shares, axis=1) * _sizes(yaw)).mean())
    return float(1 / np.mean(lengths))
