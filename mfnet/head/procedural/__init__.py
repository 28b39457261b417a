"""A head made from nothing but formulas, in FLAME's format, for machines without a licence for FLAME."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mfnet.head.model import HeadModel
from mfnet.head.procedural.albedo import paint_albedo, procedural_canvas
from mfnet.head.procedural.landmarks import embed_landmarks
from mfnet.head.procedural.rig import joint_regressor, pose_correctives, skinning_weights
from mfnet.head.procedural.topology import build_topology
from mfnet.head.procedural.variation import expression_directions, shape_directions

_MILLIMETRE = 1e-3


@lru_cache(maxsize=4)
def procedural_head(seed: int = 0) -> HeadModel:
    """Build the procedural head: skull, brow, nose, lips that part, chin, ears, neck and two eyeballs.

    Args:
        seed: draws the fine, unnamed directions of shape, expression and albedo; the mean head is always the same.

    Returns:
        The same HeadModel for the same seed: about 5,000 vertices, 300 shape and 100 expression directions, 36
        pose correctives, five joints.
    """
    rng = np.random.default_rng(seed)
    topology = build_topology()
    shape = shape_directions(topology, rng)
    expression = expression_directions(topology, rng)
    weights = skinning_weights(topology)
    albedo_mean, albedo_basis = paint_albedo(procedural_canvas(topology), rng)
    return HeadModel(
        template=(topology.vertices * _MILLIMETRE).astype(np.float32),
        faces=topology.faces,
        shape_directions=(shape * _MILLIMETRE).astype(np.float32),
        expression_directions=(expression * _MILLIMETRE).astype(np.float32),
        pose_directions=(pose_correctives(topology) * _MILLIMETRE).astype(np.float32),
        joint_regressor=joint_regressor(topology).astype(np.float32),
        skinning_weights=weights.astype(np.float32),
        **embed_landmarks(topology),
        uv_coordinates=topology.uv_coordinates.astype(np.float32),
        uv_faces=topology.uv_faces,
        albedo_mean=albedo_mean,
        albedo_basis=albedo_basis,
        regions=topology.regions,
    )
