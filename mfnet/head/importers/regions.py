"""Regions of a head that names none, by where things lie."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

_ASIDE_M = 0.01
# The face reaches so far behind the nose's tip, to either side, and above and below that tip.
_BEHIND_M, _BESIDE_M, _ABOVE_M = 0.11, 0.07, 0.10


def face_by_place(template: np.ndarray) -> np.ndarray:
    """[V] bool: what lies in front of the ears, around the foremost point, the nose's tip; template [V, 3] metres."""
    depth = template[:, 2]
    face = (depth > depth.max() - _BEHIND_M) & (np.abs(template[:, 0]) < _BESIDE_M)
    return face & (np.abs(template[:, 1] - template[depth.argmax(), 1]) < _ABOVE_M)


def regions_by_place(template: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    """The regions of HeadModel from vertices [V, 3] and triangles [F, 3]: eyes are loose parts on both sides."""
    n = len(template)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(n, n))
    part = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    apart = [part == number for number in range(part.max() + 1) if number != np.bincount(part).argmax()]
    # A tongue or teeth lie in the middle.
    aside = [piece for piece in apart if abs(template[piece, 0].mean()) > _ASIDE_M]
    eyes = np.any([np.zeros(n, bool), *aside], 0)
    return {"face": face_by_place(template) & ~eyes, "eyes": eyes, "mouth": np.zeros(n, bool)}
