"""Stage flow: optical flow, consistency and landmark masks of every triplet's pairs."""

import time
from pathlib import Path

import pandas as pd
import torch

from mfnet.config import load_params
from mfnet.data.store import FaceStore
from mfnet.flow import load_flow_estimator, weights_files
from mfnet.flow.store import precompute_flow
from mfnet.guided_flow import GuidedFlow
from mfnet.head import load_head
from pipeline.stage import main, whole_folder
from pipeline.tracking import log_metrics, made_from, tracked


def stage() -> None:
    """Write data/flow/."""
    params = load_params()
    inputs = [params.head.path, Path("data/faces"), Path("data/triplets.parquet")]
    logged = {name: getattr(params, name).model_dump(mode="json") for name in ("flow", "head")}
    logged["fit"] = params.fit.model_dump(include={"noise", "iterations"})
    with tracked("flow", logged, inputs):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        estimator = load_flow_estimator(params.flow.estimator, params.flow.updates).to(device)
        guided = GuidedFlow(load_head(params.head), params.head, params.fit, params.data.image_size, estimator)
        began = time.monotonic()
        digest = made_from([*inputs, *weights_files(params.flow.estimator)])
        triplets, faces = pd.read_parquet(inputs[2]), FaceStore(inputs[1])
        with whole_folder("data/flow", resume=True) as folder:
            summary = precompute_flow(triplets, faces, guided, params.flow, folder, device, digest)
        summary["pairs_per_second"] = summary.pop("pairs_written") / (time.monotonic() - began)
        print(", ".join(f"{name}: {value:.4g}" for name, value in summary.items()))
        log_metrics(summary)


if __name__ == "__main__":
    main(stage)
