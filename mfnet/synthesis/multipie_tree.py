"""Generated people in Multi-PIE's folder layout: fifteen cameras, sessions, recordings, illuminations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mfnet.config import SynthesizeParams
from mfnet.data.multipie import CAMERA_PITCH, CAMERA_YAW, EXPRESSIONS, SUBJECT_LIST, Photograph
from mfnet.parallel import parallel_map
from mfnet.render.camera import ndc_to_pixel, pinhole_project
from mfnet.synthesis.outcome import Outcome, of_person, write_outcomes
from mfnet.synthesis.person import Sculptor, draw_performance, draw_person, sculptor_of
from mfnet.synthesis.photograph import Photographer, draw_background, draw_camera, flash_light, write_png
from mfnet.synthesis.pose import TO_OPENCV, head_rotation, seen_yaw

IMAGE_SIZE = (480, 640)
_DISTANCE, _FOCAL = 1.4, 1500.0
_AIM = np.array([0.0, -0.005, -0.03])
# Deviations of the head's own yaw, pitch and roll in degrees: people do not sit still.
_POSTURE = (5.0, 11.0, 5.0)
_SECOND_SESSION_EVERY, _MISSING_FILE_EVERY = 16, 24


def synthesize_multipie(root: Path, head_path: Path, params: SynthesizeParams, seed: int, workers: int | None) -> int:
    """Photograph `params.multipie_subjects` people into the tree at root; returns the number of photographs.

    As in the original some people are absent from a session and some files are missing.
    """
    subjects = list(range(1, params.multipie_subjects + 1))
    root.mkdir(parents=True, exist_ok=True)
    work = partial(_photograph_subject, root=root, head_path=head_path, params=params, seed=seed)
    outcomes = parallel_map(work, subjects, "Multi-PIE subjects", workers)
    landmarks = write_outcomes(root, outcomes)
    sexes = ["Female" if outcome.people[0]["female"] else "Male" for outcome in outcomes]
    listing = root / SUBJECT_LIST
    listing.parent.mkdir(exist_ok=True)
    lines = []
    for subject, sex in zip(subjects, sexes, strict=True):
        flags = ["1" if _session(subject) == session else "0" for session in range(1, 5)]
        lines.append(f"{subject:03d} {1950 + subject % 50} {sex} {' '.join(flags)}")
    listing.write_text("\n".join(lines) + "\n")
    # DVC watches this folder and not the photographs, so it must change whenever they do.
    (listing.parent / "made_from.txt").write_text(_digest(root, landmarks) + "\n")
    return len(landmarks)


def _digest(root: Path, landmarks: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for path in sorted(landmarks):
        digest.update(path.encode() + landmarks[path].tobytes() + (root / path).read_bytes())
    return digest.hexdigest()


def _session(subject: int) -> int:
    return 2 if subject % _SECOND_SESSION_EVERY == 0 else 1


def _project(points: np.ndarray, camera: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    intrinsics, extrinsics = (torch.tensor(part)[None] for part in camera)
    return pinhole_project(torch.tensor(points)[None], intrinsics, extrinsics, IMAGE_SIZE)[0].numpy()


def _draw_pinhole(rng: np.random.Generator, name: str) -> tuple[np.ndarray, np.ndarray]:
    """K [3, 3] and Rt [3, 4] of a named camera, a little off its nominal place as real rigs are."""
    turn = head_rotation(CAMERA_YAW[name] + rng.normal() * 1.0, CAMERA_PITCH.get(name, 0) + rng.normal() * 1.0)
    rotation = TO_OPENCV @ turn
    distance = _DISTANCE * (1 + 0.02 * rng.normal())
    translation = np.array([0, 0, distance]) - rotation @ _AIM + np.array([*rng.normal(size=2) * 0.006, 0])
    focal = _FOCAL * (1 + 0.02 * rng.normal())
    intrinsics = np.array([[focal, 0, IMAGE_SIZE[1] / 2], [0, focal, IMAGE_SIZE[0] / 2], [0, 0, 1]])
    return intrinsics, np.column_stack([rotation, translation])


class Shot(NamedTuple):
    """A person in front of one camera in one recording.

    vertices [V, 3] metres and normals [V, 3], in the frame of the light; projected [V, 3] in the photograph's [-1, 1]
    and depth in metres; landmarks [68, 2] in pixels; yaw in degrees as the camera sees it;
    lights: illumination -> [9, 3].
    """

    recording: int
    camera: str
    vertices: np.ndarray
    normals: np.ndarray
    projected: np.ndarray
    landmarks: np.ndarray
    yaw: float
    lights: dict[int, np.ndarray]


class Sitting:
    """All that is drawn for one person: who it is, and what every camera is to see; a function of seed and subject."""

    def __init__(self, subject: int, sculptor: Sculptor, params: SynthesizeParams, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 1, subject])
        self.subject, self.session, self._params = subject, _session(subject), params
        self._sculptor = sculptor
        self.person = draw_person(self._rng, sculptor.head, params.relief_mm, params.deviation_mm)
        self.photographer = Photographer(self._sculptor, self.person, self._rng)
        self.backdrops = {name: draw_background(self._rng, IMAGE_SIZE, plain=True) for name in CAMERA_YAW}
        self.cameras = {name: draw_camera(self._rng, studio=True) for name in CAMERA_YAW}

    def photographs(self, shot: Shot) -> dict[int, np.ndarray]:
        """What the shot's camera writes under each illumination, RGB uint8; draws the grain."""
        sight = self.photographer.see(shot.normals, shot.projected, IMAGE_SIZE)
        backdrop, camera = self.backdrops[shot.camera], self.cameras[shot.camera]
        return {
            illumination: self.photographer.develop(sight.lit(light, backdrop), camera)
            for illumination, light in shot.lights.items()
            if not _is_missing(self.subject, shot.recording, shot.camera, illumination)
        }

    def shots(self) -> Iterator[Shot]:
        """Every recording from every camera, in order; only once."""
        rng, sculptor = self._rng, self._sculptor
        for recording in range(1, self._params.recordings + 1):
            expression = EXPRESSIONS.get((self.session, recording), "neutral")
            vertices = sculptor.sculpt(self.person, draw_performance(rng, sculptor.head, expression))
            yaw, pitch, roll = rng.normal(size=3) * _POSTURE
            turn = head_rotation(yaw, pitch, roll)
            turned = (vertices - _AIM) @ turn.T + _AIM + rng.normal(size=3) * 0.004
            normals = sculptor.normals(turned)
            lights = {index: flash_light(rng, index) for index in self._params.illuminations}
            for name in CAMERA_YAW:
                camera = _draw_pinhole(rng, name)
                yaw_in_view = seen_yaw(TO_OPENCV @ camera[1][:, :3] @ turn)
                points = _project(sculptor.landmarks(turned, yaw_in_view), camera)[:, :2]
                pixels = ndc_to_pixel(torch.tensor(points), IMAGE_SIZE).numpy()
                yield Shot(recording, name, turned, normals, _project(turned, camera), pixels, yaw_in_view, lights)


def _photograph_subject(subject: int, root: Path, head_path: Path, params: SynthesizeParams, seed: int) -> Outcome:
    """All photographs of one person, written into the tree."""
    sitting = Sitting(subject, sculptor_of(head_path), params, seed)
    outcome, errs = of_person(f"{subject:03d}", sitting.person), np.random.default_rng([seed, 5, subject])
    for shot in sitting.shots():
        for illumination, image in sitting.photographs(shot).items():
            photograph = Photograph(subject, sitting.session, shot.recording, shot.camera, illumination)
            target = root / photograph.path
            target.parent.mkdir(parents=True, exist_ok=True)
            write_png(target, image)
            outcome.add(str(photograph.path), shot.landmarks, shot.yaw, errs, params.landmark_error)
    return outcome


def _is_missing(subject: int, recording: int, camera: str, illumination: int) -> bool:
    return subject % _MISSING_FILE_EVERY == 3 and recording == 1 and camera == "24_0" and illumination == 0
