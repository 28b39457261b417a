"""Least squares on a head's parameters: by landmarks, and by the optical flow between photographs."""
