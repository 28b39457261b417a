"""Draws of a population, or the covariance of its causes, as FLAME's orthogonal directions."""

from __future__ import annotations

import numpy as np

# Of the largest deviation: what is below is rounding, and no direction.
_RANK_TOLERANCE = 1e-6
# Turns no direction over by rounding: no direction is orthogonal to it, as one is to any symmetric rule.
_SIGN_SEED = 20260101


def principal_directions(draws: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """How draws differ from their mean, in orthogonal displacements of one standard deviation, decreasing.

    Args:
        draws: [N, V, 3] float64.
        count: directions; those beyond the draws' rank are zero.

    Returns:
        directions [V, 3, count], each with the sign of `fixed_signs`, and the draws' coefficients [N, count], of unit
        variance.
    """
    centred = (draws - draws.mean(0)).reshape(len(draws), -1)
    squares, coefficients = np.linalg.eigh(centred @ centred.T)
    largest = np.argsort(squares)[::-1][:count]
    deviations = np.sqrt(np.maximum(squares[largest], 0) / len(draws))
    deviations[deviations < _RANK_TOLERANCE * deviations[0]] = 0
    coefficients = coefficients[:, largest] * np.sqrt(len(draws)) * (deviations > 0)
    directions = centred.T @ coefficients / len(draws)
    signs = fixed_signs(directions)
    filled = np.zeros((directions.shape[0], count))
    filled[:, : len(signs)] = directions * signs
    weights = np.zeros((len(draws), count))
    weights[:, : len(signs)] = coefficients * signs
    return filled.reshape(*draws.shape[1:], count), weights


def directions_of_causes(
    displacements: np.ndarray, covariance: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same for displacements whose weights vary with a known covariance.

    Args:
        displacements: [K, V, 3] float64, each at a weight of one.
        covariance: [K, K] of the weights.
        count: directions; those beyond K are zero.

    Returns:
        directions [V, 3, count], and the coefficients [K, count] that each displacement has in them.
    """
    flat = displacements.reshape(len(displacements), -1)
    left, deviations, _ = np.linalg.svd(flat.T @ np.linalg.cholesky(covariance), full_matrices=False)
    kept = min(count, int((deviations > _RANK_TOLERANCE * deviations[0]).sum()))
    directions = np.zeros((flat.shape[1], count))
    directions[:, :kept] = left[:, :kept] * deviations[:kept]
    directions[:, :kept] *= fixed_signs(directions[:, :kept])
    coefficients = np.zeros((len(flat), count))
    coefficients[:, :kept] = flat @ directions[:, :kept] / deviations[:kept] ** 2
    return directions.reshape(*displacements.shape[1:], count), coefficients


def fixed_signs(directions: np.ndarray) -> np.ndarray:
    """+1 or -1 for each column of [D, K], by a fixed vector that no rule of symmetry makes orthogonal to it."""
    rule = np.random.default_rng(_SIGN_SEED).normal(size=len(directions))
    return np.where(rule @ directions < 0, -1.0, 1.0)
