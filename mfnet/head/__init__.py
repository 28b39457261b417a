"""Head models in FLAME's form (equation 1): the file format, the decoder and where heads come from."""

from mfnet.head.flame import Flame, FlameOutput, rotation_from_axis_angle
from mfnet.head.model import HeadModel, load_head
from mfnet.head.procedural import procedural_head

__all__ = ["Flame", "FlameOutput", "HeadModel", "load_head", "procedural_head", "rotation_from_axis_angle"]
