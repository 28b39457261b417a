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
from mfnet.data.store import FaceStore
from mfnet.flow import load_flow_estimator
from mfnet.flow.store import FlowStore
from mfnet.multiview import ViewPairs, render_pairs
from mfnet.network import load_network
from mfnet.reconstruct import Reconstructor
from mfnet.render import Renderer

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
    reconstructor = Reconstructor.load(model, "cpu")
    params, flame = reconstructor.params, reconstructor.flame
    renderer = Renderer(reconstructor.head, params.data.image_size, 2 * params.data.image_size, params.head.n_albedo)
    triplets = pd.read_parquet("data/triplets.parquet")
    data = TripletData(triplets, "validation", FaceStore(Path("data/faces")), FlowStore(Path("data/flow")))
    # One for every angle between the views.
    angles = data.rows["right_yaw"].abs().to_numpy()
    batch = data.batch([int(np.flatnonzero(angles == angle)[0]) for angle in sorted(set(angles))[:count]])
    squares = torch.zeros(len(batch.images), dtype=torch.long)
    pairs = torch.stack([torch.arange(len(squares)), squares + 2], 1)
    network = load_network(model, params, torch.device("cpu"))
    parameters = network(batch.images)
    shown = render_pairs(flame, renderer, parameters, batch, pairs, consistency=False)
    chosen = ViewPairs.of_triplets(pairs)
    columns = [batch.images[chosen.person, chosen.view_a], shown.photograph, shown.rendered]
    columns.append(shown.photograph * (0.25 + 0.75 * shown.mask))
    for name in estimators:
        flow = load_flow_estimator(name, params.flow.updates)(
            shown.mask * shown.photograph, shown.mask * shown.rendered
        )
        columns.append(torch.where(shown.mask > 0, coloured(flow, full), torch.ones(())))
    picture = torch.cat([torch.cat(list(column), 1) for column in columns], 2).clamp(0, 1)
    pixels = (picture * 255).byte().permute(1, 2, 0).numpy()
    return cv2.resize(pixels, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/full"))
    parser.add_argument("--estimators", nargs="+", default=["packaged", "dis"])
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--full", type=float, default=5.0, help="pixels of flow that are drawn fully saturated")
    parser.add_argument("--out", type=Path, default=Path("docs/figures/flow.jpg"))
    chosen = parser.parse_args()
    picture = draw(chosen.model, chosen.estimators, chosen.pairs, chosen.full)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(chosen.out), picture[..., ::-1])


if __name__ == "__main__":
    main()
