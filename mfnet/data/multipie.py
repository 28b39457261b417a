"""Multi-PIE's file names, cameras and recordings.

Layout: `sessionSS/multiview/<subject>/<recording>/<camera CC_D>/<subject>_<SS>_<RR>_<CCD>_<II>.png`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

# Degrees; + is the nose towards image right, the person's right cheek seen (bob.db.multipie's sign).
CAMERA_YAW = {
    "11_0": -90, "12_0": -75, "09_0": -60, "08_0": -45, "13_0": -30, "14_0": -15, "05_1": 0, "05_0": 15,
    "04_1": 30, "19_0": 45, "20_0": 60, "01_0": 75, "24_0": 90, "08_1": -45, "19_1": 45,
}  # fmt: skip
# The two cameras that look down from above the arc; the angle is nominal.
CAMERA_PITCH = {"08_1": 25, "19_1": 25}
FRONTAL_CAMERA = "05_1"
SUBJECT_LIST = "meta/subject_list.txt"
EXPRESSIONS = {
    (1, 1): "neutral", (1, 2): "smile", (2, 1): "neutral", (2, 2): "surprise", (2, 3): "squint",
    (3, 1): "neutral", (3, 2): "smile", (3, 3): "disgust", (4, 1): "neutral", (4, 2): "neutral",
    (4, 3): "scream",
}  # fmt: skip

_STEM = re.compile(r"(\d{3})_(\d{2})_(\d{2})_(\d{3})_(\d{2})")


class Photograph(NamedTuple):
    """One photograph's place in Multi-PIE."""

    subject: int
    session: int
    recording: int
    camera: str
    illumination: int

    @property
    def path(self) -> Path:
        """Relative to the data set's root."""
        camera = self.camera.replace("_", "")
        stem = f"{self.subject:03d}_{self.session:02d}_{self.recording:02d}_{camera}_{self.illumination:02d}"
        folder = Path(f"session{self.session:02d}", "multiview", f"{self.subject:03d}", f"{self.recording:02d}")
        return folder / self.camera / f"{stem}.png"


def parse(path: Path) -> Photograph | str:
    """The photograph that a path relative to the root names, or in one line why it names none."""
    match = _STEM.fullmatch(path.stem)
    if match is None:
        return f"'{path.name}' is not SSS_SS_RR_CCD_II.png"
    subject, session, recording, camera, illumination = match.groups()
    camera = f"{camera[:2]}_{camera[2]}"
    if camera not in CAMERA_YAW:
        return f"camera {camera} is not one of Multi-PIE's fifteen"
    if int(illumination) > 19:
        return f"illumination {illumination} is not in 00..19"
    photograph = Photograph(int(subject), int(session), int(recording), camera, int(illumination))
    if photograph.path != path:
        return f"the name does not belong in this folder; expected {photograph.path}"
    return photograph
