"""Sheets of pictures for people to look at: reconstructions, heads of a model, the renderer at work."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.spatial.transform import Rotation

from mfnet.data.faces import FaceStore
from mfnet.data.multipie import CAMERA_PITCH, CAMERA_YAW
from mfnet.data.pairs import VIEWS
from mfnet.evaluation.sheets import contact_sheet
from mfnet.head import Flame, HeadModel
from mfnet.reconstruct import Reconstructor
from mfnet.render import Renderer
from mfnet.render.camera import orthographic_project
from mfnet.render.shading import vertex_normals
from mfnet.render.texture import complete_texture

_SIDE = 192
_FRAMING = (6.6, 0.0, -0.01)
_FUSED_CAMERAS = ("05_1", "08_0", "19_0")


def reconstruction_sheet(
    reconstructor: Reconstructor, triplets: pd.DataFrame, faces: FaceStore, people: int = 6
) -> np.ndarray:
    """One row per held-out person: three crops, three overlays, the fused texture; RGB uint8."""
    held_out = triplets[triplets["split"] == "validation"].drop_duplicates("subject").head(people)
    pictures = []
    for row in held_out.to_dict("records"):
        crops = [faces.image(row[f"{view}_shard"], row[f"{view}_row"]) for view in VIEWS]
        side = crops[0].shape[0] / 2
        landmarks = [(np.asarray(row[f"{view}_landmarks"]).reshape(68, 2) + 1) * side for view in VIEWS]
        reconstruction = reconstructor(crops, landmarks)
        pictures += [*crops, *reconstruction.overlays, reconstruction.texture]
    return contact_sheet(pictures, 2 * len(VIEWS) + 1, _SIDE)


@torch.no_grad()
def head_sheet(head: HeadModel, people: int = 7, seed: int = 0) -> np.ndarray:
    """The mean head and people drawn from the model, in front and turned, lit and bare; RGB uint8."""
    generator = torch.Generator().manual_seed(seed)
    n_shape, n_albedo = head.shape_directions.shape[2], len(head.albedo_basis)
    flame, renderer = Flame(head, n_shape, 1), Renderer(head, _SIDE, 256, n_albedo)
    shape = torch.randn(people, n_shape, generator=generator).clamp(-2.5, 2.5)
    colour = torch.randn(people, n_albedo, generator=generator).clamp(-2, 2)
    shape[0], colour[0] = 0, 0
    light = torch.zeros(people, 9, 3)
    light[:, 0], light[:, 1], light[:, 2], light[:, 3] = 2.0, 0.2, 0.3, 0.8
    pictures = []
    for yaw in (0.0, 0.7):
        pose = torch.zeros(people, 15)
        pose[:, 1] = yaw
        out = flame(shape, torch.zeros(people, 1), pose)
        centred = out.vertices - out.landmarks.mean(1, keepdim=True)
        view = renderer.view(out.vertices, orthographic_project(centred, torch.tensor([_FRAMING]).expand(people, -1)))
        lit = renderer.render(renderer.shaded_texture(view.normals, renderer.albedo(colour), light), view)
        covered = (view.fragments.pix_to_face >= 0)[:, None]
        for picture in (lit, renderer.depth_shading(view)):
            on_white = torch.where(covered, picture.clamp(0, 1), torch.ones_like(picture))
            pictures += list((on_white * 255).byte().permute(0, 2, 3, 1).numpy())
    return contact_sheet(pictures, people, _SIDE)


@torch.no_grad()
def camera_sheet(head: HeadModel, seed: int = 3) -> np.ndarray:
    """The renderer at work on one drawn head, RGB uint8, three rows of eight.

    Multi-PIE's fifteen cameras and the head's true texture; then, for three of the cameras, what equation 3 samples
    into texture space and how well it is seen there, and the three fused, with the confidence.
    """
    generator = torch.Generator().manual_seed(seed)
    n_shape, n_albedo = head.shape_directions.shape[2], len(head.albedo_basis)
    flame, renderer = Flame(head, n_shape, 1), Renderer(head, 2 * _SIDE, _SIDE, n_albedo)
    shape = torch.randn(1, n_shape, generator=generator).clamp(-2.5, 2.5)
    colour = torch.randn(1, n_albedo, generator=generator).clamp(-2, 2)
    light = torch.zeros(1, 9, 3)
    light[:, 0], light[:, 1], light[:, 2], light[:, 3] = 2.0, 0.2, 0.3, 0.8
    still = flame(shape, torch.zeros(1, 1), torch.zeros(1, 15))
    texture = renderer.shaded_texture(vertex_normals(still.vertices, renderer.faces), renderer.albedo(colour), light)

    angles = [(CAMERA_PITCH.get(name, 0), yaw) for name, yaw in CAMERA_YAW.items()]
    pose = torch.zeros(len(angles), 15)
    pose[:, :3] = torch.tensor(Rotation.from_euler("XY", angles, degrees=True).as_rotvec())
    out = flame(shape.expand(len(pose), -1), torch.zeros(len(pose), 1), pose)
    centred = out.vertices - out.landmarks.mean(1, keepdim=True)
    view = renderer.view(out.vertices, orthographic_project(centred, torch.tensor([_FRAMING]).expand(len(pose), -1)))
    photographs = renderer.render(texture.expand(len(pose), -1, -1, -1), view)

    fused_cameras = [list(CAMERA_YAW).index(name) for name in _FUSED_CAMERAS]
    sampled, weights = (part[fused_cameras] for part in renderer.extract_inside(photographs, view))
    fused, confidence = complete_texture(sampled[None], weights[None])
    on_white = torch.where((view.fragments.pix_to_face >= 0)[:, None], photographs, torch.ones_like(photographs))
    cells = [*on_white, texture[0]]
    for one, weight in zip(sampled, weights, strict=True):
        cells += [one * (weight > 0), weight.expand(3, -1, -1)]
    cells += [fused[0], confidence[0].expand(3, -1, -1)]
    pictures = [(picture.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy() for picture in cells]
    return contact_sheet(pictures, 8, _SIDE)
