"""Photographs to a head: the trained network, or a fit to landmarks, as something to call."""

from mfnet.reconstruct.reconstruction import Reconstruction, ViewCamera
from mfnet.reconstruct.reconstructor import CropSetting, Prediction, Reconstructor, Square

__all__ = ["CropSetting", "Prediction", "Reconstruction", "Reconstructor", "Square", "ViewCamera"]
