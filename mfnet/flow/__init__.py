"""Optical flow: the estimators F of equation 6. Networks and arrays; no files but their weights."""

from mfnet.flow.estimator import FlowEstimator, load_flow_estimator, weights_files

__all__ = ["FlowEstimator", "load_flow_estimator", "weights_files"]
