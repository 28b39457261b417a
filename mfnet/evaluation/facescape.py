"""The FaceScape benchmark's metrics: where other people's scripts import them from."""

from mfnet.evaluation.protocol.scores import Mesh, Score, score_lab, score_wild

__all__ = ["Mesh", "Score", "score_lab", "score_wild"]
