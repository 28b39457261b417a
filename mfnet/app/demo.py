"""`mfnet demo`: what the packaged network makes of a generated person and of a photograph of a real one, as a page."""

from __future__ import annotations

import base64
import html
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mfnet.config import SynthesizeParams
from mfnet.evaluation.report.viewer import Heads
from mfnet.head.packaged import PACKAGED_HEAD
from mfnet.reconstruct import Reconstruction, Reconstructor
from mfnet.synthesis.multipie_tree import Sitting
from mfnet.synthesis.person import sculptor_of

# Nobody whom any training or benchmark draws.
_SUBJECT, _SEED = 1, 2**31
_CAMERAS, _ILLUMINATION = ("05_1", "13_0", "04_1"), 7
_STUDIO = SynthesizeParams(
    multipie_subjects=2, recordings=1, illuminations=[_ILLUMINATION], wild_per_bin=1, lab_subjects=1, relief_mm=0.25
)
_SIDE, _QUALITY = 360, 88


class Subject(NamedTuple):
    """Somebody to be reconstructed: what the page calls them, and their photographs, RGB uint8."""

    name: str
    text: str
    photographs: Callable[[], list[np.ndarray]]


def generated_person() -> list[np.ndarray]:
    """Three photographs of a person drawn from the packaged head."""
    sitting = Sitting(_SUBJECT, sculptor_of(PACKAGED_HEAD), _STUDIO, _SEED)
    by_camera = {shot.camera: shot for shot in sitting.shots()}
    return [sitting.photographs(by_camera[camera])[_ILLUMINATION] for camera in _CAMERAS]


def real_person() -> list[np.ndarray]:
    """A portrait in the public domain: Eileen Collins, by NASA."""
    from skimage import data  # noqa: PLC0415  takes a second

    return [data.astronaut()]


SUBJECTS = (
    Subject("generated", "A person drawn from the packaged head, from three photographs", generated_person),
    Subject("astronaut", "Eileen Collins (NASA, public domain), from one photograph", real_person),
)


def write_demo(folder: Path) -> Path:
    """Reconstruct both, write each one's files into a folder of its own, and the page.

    Args:
        folder: made where it is missing.

    Returns:
        The page.
    """
    heads, parts = Heads(), []
    reconstructor = Reconstructor.packaged().refined()
    for subject in SUBJECTS:
        photographs = subject.photographs()
        began = time.monotonic()
        reconstruction = reconstructor(photographs)
        seconds = time.monotonic() - began
        reconstruction.save(folder / subject.name)
        parts.append(_part(subject, reconstruction, heads, folder, seconds))
        print(f"{subject.name}: {len(photographs)} photographs, {seconds:.1f} s, {folder / subject.name}/mesh.glb")
    page = folder / "index.html"
    frame = files("mfnet.app").joinpath("demo.html").read_text()
    page.write_text(frame.replace("<!-- heads -->", "".join(parts)).replace("<!-- script -->", heads.script()))
    return page


def _part(subject: Subject, reconstruction: Reconstruction, heads: Heads, folder: Path, seconds: float) -> str:
    glb = (folder / subject.name / "mesh.glb").read_bytes()
    pairs = zip(reconstruction.crops, reconstruction.overlays, strict=True)
    pictures = "".join(_picture(np.concatenate(pair)) for pair in pairs)
    canvas = heads.textured(glb, "The head: drag to turn it")
    caption = f"{html.escape(subject.text)}, in {seconds:.1f} seconds"
    return f"<section><h2>{caption}</h2><div class='row'>{pictures}{canvas}</div></section>"


def _picture(image: np.ndarray) -> str:
    """A photograph with the shape over it below, as JPEG inside the page."""
    small = cv2.resize(image, (_SIDE, _SIDE * image.shape[0] // image.shape[1]), interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    source = f"data:image/jpeg;base64,{base64.b64encode(coded.tobytes()).decode()}"
    return f"<img src='{source}' alt='a photograph, and the shape over it'>"
