"""Optical flow: the estimator of equation 6, its training, and the precomputed flow between views."""

from mfnet.flow.estimator import FlowEstimator, load_flow_estimator, weights_files

__all__ = ["FlowEstimator", "load_flow_estimator", "weights_files"]
