"""What equation 6 sees, for people to look at: `python benchmarks/flow_picture.py` after a `make repro`.

Draws pairs of held-out triplets as the trained network has them, in the manner of the paper's figures 2 and 3; from
left to right photograph I_a, photograph I_b, render I_{a->b}, the covisible mask over I_b, and the flow between the two
masked images by each estimator, coloured by direction and as saturated as it is long (full at `--full` pixels).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchvision.utils import flow_to_image

from mfnet.data.batches import TripletData
from mfnet.data.faces import FaceStore
from mfnet.data.flow_store import FlowStore
from mfnet.data.pairs import PAIRS
from mfnet.flow import load_flow_estimator
from mfnet.method.multiview import render_pairs
from mfnet.method.views import Decoder, Scene, ViewPairs
from mfnet.reconstruct.model_folder import load_model

_ENLARGED = 2


def coloured(flow: Tensor, full: float) -> Tensor:
    """Flow [B, 2, H, W] in pixels as colours [B, 3, H, W] in [0, 1]."""
    # The picture is scaled by its longest flow: one pixel of a corner is made as long as full saturation.
    limited = flow * (full / flow.norm(dim=1, keepdim=True).clamp(min=full))
    limited[:, :, 0, 0] = torch.tensor([full, 0.0])
    return flow_to_image(limited).float() / 255


@torch.no_grad()
def draw(model: Path, estimators: list[str], count: int, full: float) -> np.ndarray:
    """The picture, RGB uint8."""
    config, network, head = load_model(model, torch.device("cpu"))
    decoder = Decoder.of(head, config.directions, config.image_size, 2 * config.image_size)
    triplets = pd.read_parquet("data/triplets.parquet")
    data = TripletData(triplets, "validation", FaceStore(Path("data/faces")), FlowStore(Path("data/flow")))
    # One for every angle between the views.
    angles = data.rows["right_yaw"].abs().to_numpy()
    batch = data.batch([int(np.flatnonzero(angles == angle)[0]) for angle in sorted(set(angles))[:count]])
    to_the_right = torch.full((len(batch.images),), PAIRS.index(("front", "right")))
    selection = torch.stack([torch.arange(len(batch.images)), to_the_right], 1)
    pairs = ViewPairs.of_batch(batch, selection, consistency=False)
    rendered = render_pairs(decoder, Scene(network(batch.images), batch.images), pairs)
    columns = [batch.images.flatten(0, 1)[pairs.view_a], rendered.photograph, rendered.rendered]
    columns.append(rendered.photograph * (0.25 + 0.75 * rendered.mask))
    for name in estimators:
        flow = load_flow_estimator(name)(rendered.mask * rendered.photograph, rendered.mask * rendered.rendered)
        columns.append(torch.where(rendered.mask > 0, coloured(flow, full), torch.ones(())))
    picture = torch.cat([torch.cat(list(column), 1) for column in columns], 2).clamp(0, 1)
    pixels = (picture * 255).byte().permute(1, 2, 0).numpy()
    return cv2.resize(pixels, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/mfnet"))
    parser.add_argument("--estimators", nargs="+", default=["packaged", "dis"])
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--full", type=float, default=5.0, help="pixels of flow that are drawn fully saturated")
    parser.add_argument("--out", type=Path, default=Path("docs/figures/flow.jpg"))
    options = parser.parse_args()
    picture = draw(options.model, options.estimators, options.pairs, options.full)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.out), picture[..., ::-1])


if __name__ == "__main__":
    main()
