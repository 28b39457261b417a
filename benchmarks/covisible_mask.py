"""How right equation 5's mask is, by the angle between two cameras: `python benchmarks/covisible_mask.py`.

Generated faces are seen from the front and from a side. The renderer knows which of the pixels that show the face in
one view show skin that the other sees too; the mask of landmarks and face model is scored against that, both ways.
"At the outline" is the share of the mask that touches the background, where a soft silhouette could act.
`--consistency` also asks that the packaged estimator's flow agrees both ways, `--picture PATH` draws what the table
counts: landmarks that both cameras see, and the mask where it is right, wrong and missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from mfnet.flow import load_flow_estimator
from mfnet.flow.consistency import forward_backward_consistency
from mfnet.head import Flame, HeadModel, anny_head
from mfnet.head.strangers import stranger
from mfnet.method.covisible import landmark_mask, visible_landmarks
from mfnet.pretraining.motion import exact_flow
from mfnet.render import Renderer, View
from mfnet.render.camera import orthographic_project

YAWS = (15, 30, 45, 60, 75, 90)
_SIZE, _STRIDE, _SCALE = 128, 4, 9.0
_GREEN, _RED, _BLUE = (80, 200, 80), (220, 60, 60), (70, 120, 230)


class Seen(NamedTuple):
    """B faces in one camera: view, landmarks [B, 68, 2] in [-1, 1], picture [B, 3, S, S]."""

    view: View
    landmarks: Tensor
    picture: Tensor


class Faces:
    """The same generated faces from any yaw."""

    def __init__(self, head: HeadModel, people: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self._flame, self.renderer = Flame(head), Renderer(head, _SIZE, 256, min(len(head.albedo_basis), 40))
        self._shape, self._expression = (torch.randn(people, n, generator=draw) for n in (100, 50))
        self._jaw = 0.1 * torch.randn(people, generator=draw).abs()
        self._skin = self.renderer.albedo(torch.randn(people, len(self.renderer.albedo_basis), generator=draw))

    def see(self, yaw_degrees: float) -> Seen:
        """Seen from a camera to which the nose points by so much to image right."""
        pose = torch.zeros(len(self._shape), 15)
        pose[:, 1], pose[:, 6] = np.radians(yaw_degrees), self._jaw
        out = self._flame(self._shape, 0.7 * self._expression, pose)
        middle = out.landmarks.mean(1, keepdim=True)
        camera = torch.tensor([[_SCALE, 0.0, 0.0]]).expand(len(pose), -1)
        projected = (orthographic_project(points - middle, camera) for points in (out.vertices, out.landmarks))
        vertices, landmarks = projected
        view = self.renderer.view(out.vertices, vertices)
        light = torch.zeros(len(pose), 9, 3)
        light[:, 0], light[:, 3] = 2.2, 0.6
        picture = self.renderer.render(self.renderer.shaded_texture(view.normals, self._skin, light), view)
        return Seen(view, landmarks[..., :2], picture.clamp(0, 1))


class Scored(NamedTuple):
    """Over view b, [B, S, S] bool: what equation 5 says, what both cameras see of the face, the head's last pixels."""

    mask: np.ndarray
    truth: np.ndarray
    outline: np.ndarray


def score(renderer: Renderer, a: Seen, b: Seen, yaw_a: float, yaw_b: float, consistent: Tensor | None) -> Scored:
    """Equation 5 over view b, and the truth."""
    face = renderer.face_mask(b.view)[:, 0].bool().numpy()
    _, covisible = exact_flow(renderer, b.view, a.view)
    coarse = [landmark_mask(points, yaw_a, yaw_b, _SIZE // _STRIDE) for points in b.landmarks.numpy()]
    mask = np.stack([np.kron(part, np.ones((_STRIDE, _STRIDE), bool)) for part in coarse]) & face
    if consistent is not None:
        mask &= consistent[:, 0].numpy()
    background = (b.view.fragments.pix_to_face < 0).float()[:, None]
    outline = max_pool2d(background, 3, 1, 1)[:, 0].bool().numpy()
    return Scored(mask, covisible[:, 0].bool().numpy() & face, outline)


def table(head: HeadModel, people: int, with_consistency: bool) -> pd.DataFrame:
    """Precision, IoU, recall and the mask's share of outline per yaw, pooled over people, sides and both directions."""
    faces = Faces(head, people, seed=0)
    front = faces.see(0)
    estimate = load_flow_estimator("packaged")
    rows = []
    for yaw in YAWS:
        counts = np.zeros(4)
        for side in (-yaw, yaw):
            other = faces.see(side)
            agree: list[Tensor | None] = [None, None]
            if with_consistency:
                there, back = estimate(front.picture, other.picture), estimate(other.picture, front.picture)
                agree = [forward_backward_consistency(back, there), forward_backward_consistency(there, back)]
            for scored in (
                score(faces.renderer, front, other, 0, side, agree[0]),
                score(faces.renderer, other, front, side, 0, agree[1]),
            ):
                both = scored.mask & scored.truth
                counts += [both.sum(), scored.mask.sum(), scored.truth.sum(), (scored.mask & scored.outline).sum()]
        hit, said, true, outline = counts
        row = {"yaw": yaw, "precision": hit / said, "IoU": hit / (said + true - hit), "recall": hit / true}
        rows.append(row | {"at the outline": outline / said})
    return pd.DataFrame(rows)


def picture(head: HeadModel) -> np.ndarray:
    """Each yaw a column, the front above and the side below: landmarks that both see, mask right, wrong, missing."""
    faces = Faces(head, 1, seed=1)
    front = faces.see(0)
    columns = []
    for yaw in YAWS:
        side = faces.see(-yaw)
        cells = []
        for seen, scored in (
            (front, score(faces.renderer, side, front, -yaw, 0, None)),
            (side, score(faces.renderer, front, side, 0, -yaw, None)),
        ):
            cells.append(_cell(seen, scored, visible_landmarks(0) & visible_landmarks(-yaw)))
        columns.append(np.concatenate(cells))
    return np.concatenate(columns, 1)


def _cell(seen: Seen, scored: Scored, shared: np.ndarray, enlarged: int = 2) -> np.ndarray:
    image = (seen.picture[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    mask, truth = scored.mask[0], scored.truth[0]
    for where, colour in ((mask & truth, _GREEN), (mask & ~truth, _RED), (~mask & truth, _BLUE)):
        image[where] = (0.55 * image[where] + 0.45 * np.array(colour)).astype(np.uint8)
    image = cv2.resize(image, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_NEAREST)
    for (x, y), both in zip((seen.landmarks[0].numpy() + 1) * _SIZE * enlarged / 2, shared, strict=True):
        cv2.circle(image, (round(x), round(y)), 3, (255, 255, 255), -1 if both else 1, cv2.LINE_AA)
    return image


@torch.no_grad()
def main() -> None:
    """Print the table; draw where asked."""
    parser = argparse.ArgumentParser(description="Precision and IoU of equation 5's mask by yaw.")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--stranger", type=int, default=1, help="which stranger to the packaged head is seen")
    parser.add_argument("--consistency", action="store_true", help="also ask that flow agrees both ways")
    parser.add_argument("--picture", type=Path, help="draw one person to this file")
    options = parser.parse_args()
    head = stranger(anny_head(), options.stranger)
    print(table(head, options.people, options.consistency).to_markdown(index=False, floatfmt=".3f"))
    if options.picture:
        cv2.imwrite(str(options.picture), picture(head)[..., ::-1])


if __name__ == "__main__":
    main()
