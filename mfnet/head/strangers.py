"""A head of people whom a head model does not know, for what must hold on any head; and smooth deformations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mfnet.head.model import HeadModel

_WAVES = 40


def stranger(head: HeadModel, seed: int, template_mm: float = 3.0, share: float = 0.5) -> HeadModel:
    """The same mesh with another mean and other directions, as other scans would have given it.

    Args:
        head: whose mesh, rig, landmarks and skin it keeps.
        seed: draws it.
        template_mm: how far its mean is from the head's, root mean square, smoothly.
        share: of its directions' variance that is of smooth deformations unknown to the head.
    """
    rng = np.random.default_rng([seed, len(head.template)])
    moved = smooth_displacement(head.template, rng, 0.04) * template_mm * 1e-3
    known = np.sqrt(1 - share) * head.shape_directions
    strength = np.sqrt((head.shape_directions.astype(np.float64) ** 2).sum(1).mean(0))
    unknown = np.stack([smooth_displacement(head.template, rng, 0.03) for _ in strength], -1)
    directions = known + np.sqrt(share) * unknown * strength
    for joint in (3, 4):
        ball = head.skinning_weights[:, joint] > 0.5
        moved[ball], directions[ball] = moved[ball].mean(0), directions[ball].mean(0)
    return replace(
        head, template=(head.template + moved).astype(np.float32), shape_directions=directions.astype(np.float32),
        traits={},
    )  # fmt: skip


def smooth_displacement(points: np.ndarray, rng: np.random.Generator, length: float) -> np.ndarray:
    """A random smooth vector field at points [N, 3], root mean square length one, [N, 3].

    Args:
        points: where, metres.
        rng: draws it.
        length: in metres over which it changes.
    """
    waves = rng.normal(size=(_WAVES, 3)) / length
    phases = rng.uniform(0, 2 * np.pi, _WAVES)
    amplitudes = rng.normal(size=(_WAVES, 3))
    field = np.cos(points @ waves.T + phases) @ amplitudes
    return field / np.sqrt((field**2).sum(1).mean())
