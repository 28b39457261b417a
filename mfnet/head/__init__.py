"""Head models in FLAME's form (equation 1): the file format, the decoder, the packaged head, and importers."""

from mfnet.head.flame import Flame, FlameOutput, rotation_from_axis_angle, yaw_degrees
from mfnet.head.importers.flame import load_flame
from mfnet.head.model import READERS, Directions, HeadModel
from mfnet.head.packaged import anny_head

READERS[".pkl"] = load_flame

__all__ = [
    "Directions", "Flame", "FlameOutput", "HeadModel", "anny_head", "rotation_from_axis_angle", "yaw_degrees",
]  # fmt: skip
