"""Sheets of pictures for people to look at: reconstructions of held-out people, and heads of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mfnet.data.store import FaceStore
from mfnet.data.triplets import VIEWS
from mfnet.head import Flame, HeadModel
from mfnet.reconstruct import Reconstructor, contact_sheet
from mfnet.render import Renderer
from mfnet.render.camera import orthographic_project

_SIDE = 192


def reconstruction_sheet(
    reconstructor: Reconstructor, triplets: pd.DataFrame, faces: Path, people: int = 6
) -> np.ndarray:
    """One row per held-out person: three crops, three overlays, the fused texture; RGB uint8."""
    store = FaceStore(faces)
    held_out = triplets[triplets["split"] == "validation"].drop_duplicates("subject").head(people)
    pictures = []
    for row in held_out.to_dict("records"):
        crops = [store.image(row[f"{view}_shard"], row[f"{view}_row"]) for view in VIEWS]
        side = crops[0].shape[0] / 2
        landmarks = [(np.asarray(row[f"{view}_landmarks"]).reshape(68, 2) + 1) * side for view in VIEWS]
        made = reconstructor(crops, landmarks)
        pictures += [*crops, *made.overlays, made.texture]
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
        view = renderer.view(
            out.vertices, orthographic_project(centred, torch.tensor([[6.6, 0.0, -0.01]]).expand(people, -1))
        )
        lit = renderer.render(renderer.shaded_texture(view.normals, renderer.albedo(colour), light), view)
        seen = (view.fragments.pix_to_face >= 0)[:, None]
        for picture in (lit, renderer.depth_shading(view)):
            on_white = torch.where(seen, picture.clamp(0, 1), torch.ones_like(picture))
            pictures += list((on_white * 255).byte().permute(0, 2, 3, 1).numpy())
    return contact_sheet(pictures, people, _SIDE)
