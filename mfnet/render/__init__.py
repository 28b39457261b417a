"""The differentiable renderer (equations 2 to 4) and its cameras. Knows nothing of data sets."""

from mfnet.render.rasterize import Fragments, interpolate, rasterize
from mfnet.render.renderer import Renderer, View

__all__ = ["Fragments", "Renderer", "View", "interpolate", "rasterize"]
