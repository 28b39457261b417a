"""How near the flow stage comes to the true flow, by its guide: `python benchmarks/guides.py` after a `make repro`.

Measures triplets of generated people, whose surfaces are known, guided by the packaged network and by a fit to their
landmarks. Prints seconds a triplet, the distance from the true flow in pixels over the squares that both have (median
and mean), and the share of the truly covisible squares that is kept. Two minutes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from exact_flow import write_exact_flow

from mfnet.config import load_params
from mfnet.data.faces import FaceStore
from mfnet.data.flow_store import FlowStore
from mfnet.fitting.guided_flow import Guide, GuidedFlow, by_landmarks, by_network
from mfnet.fitting.precomputed_flow import FlowGrid, precompute_flow
from mfnet.settings import directions, open_flow_estimator, open_head
from pipeline.training_run import FACES, TRIPLETS

_TRIPLETS = 48


def main() -> None:
    """Measure and print."""
    params, table = load_params(), pd.read_parquet(TRIPLETS)
    some = table.iloc[np.linspace(0, len(table) - 1, min(_TRIPLETS, len(table))).round().astype(int)]
    head, size = open_head(params.head), params.data.image_size
    guides: dict[str, Guide | None] = {
        "packaged network": by_network(head),
        "landmark fit": by_landmarks(head, directions(params.head), params.fit),
    }
    grid, rows = FlowGrid(params.flow.stride, params.flow.batch), []
    with tempfile.TemporaryDirectory() as folder:
        write_exact_flow(some, params, Path(folder) / "exact")
        exact = FlowStore(Path(folder) / "exact", with_flow=True)
        for name, guide in guides.items():
            if guide is None:
                continue
            measure = GuidedFlow(head, guide, size, open_flow_estimator(params.flow))
            began, target = time.monotonic(), Path(folder) / name
            precompute_flow(some, FaceStore(FACES), measure, grid, target, torch.device("cpu"), name)
            seconds = (time.monotonic() - began) / len(some)
            rows.append({"guide": name, "s a triplet": seconds, **_compared(some.index, target, exact, size)})
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))


def _compared(triplets: pd.Index, folder: Path, exact: FlowStore, size: int) -> dict[str, float]:
    measured = FlowStore(folder, with_flow=True)
    off, kept, possible = [], 0, 0
    for name in map(str, triplets):
        ours, true = measured.pairs(name), exact.pairs(name)
        assert ours.consistency is not None
        assert true.consistency is not None
        assert ours.target is not None
        assert true.target is not None
        shown = (true.consistency > 0) & (true.landmark_mask > 0)
        both = shown & (ours.consistency > 0)
        off.append((ours.target - true.target).norm(dim=1, keepdim=True)[both] * (size / 2))
        kept, possible = kept + int(both.sum()), possible + int(shown.sum())
    pixels = torch.cat(off)
    return {"median px": pixels.median().item(), "mean px": pixels.mean().item(), "kept": kept / possible}


if __name__ == "__main__":
    main()
