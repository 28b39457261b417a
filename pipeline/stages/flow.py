"""Stage flow: optical flow, consistency and landmark masks of every triplet's pairs."""

import time
from pathlib import Path

import pandas as pd
import torch

from mfnet.config import load_params
from mfnet.data.faces import FaceStore
from mfnet.fitting.guided_flow import GuidedFlow, by_landmarks, by_network
from mfnet.fitting.precomputed_flow import FlowGrid, precompute_flow
from mfnet.flow import weights_files
from mfnet.method.start import start_files
from mfnet.settings import directions, open_flow_estimator, open_head
from pipeline.outputs import main, whole_folder
from pipeline.tracking import log_metrics, made_from, tracked


def stage() -> None:
    """Write data/flow/."""
    params = load_params()
    inputs = [params.head.path, Path("data/faces"), Path("data/triplets.parquet")]
    logged = {name: getattr(params, name).model_dump(mode="json") for name in ("flow", "head")}
    logged["fit"] = params.fit.model_dump(include={"noise", "iterations"})
    with tracked("flow", logged, inputs):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        estimator = open_flow_estimator(params.flow).to(device)
        head, used = open_head(params.head), directions(params.head)
        guide = by_network(head) or by_landmarks(head, used, params.fit)
        guided = GuidedFlow(head, guide, params.data.image_size, estimator)
        grid = FlowGrid(params.flow.stride, params.flow.batch)
        began = time.monotonic()
        digest = made_from([*inputs, *weights_files(params.flow.estimator), *start_files()])
        # One process keeps a GPU busy.
        workers = params.engine.workers if device.type == "cpu" else 1
        triplets, faces = pd.read_parquet(inputs[2]), FaceStore(inputs[1])
        with whole_folder("data/flow", resume=True) as folder:
            summary = precompute_flow(triplets, faces, guided, grid, folder, device, digest, workers)
        summary["pairs_per_second"] = summary.pop("pairs_written") / (time.monotonic() - began)
        print(", ".join(f"{name}: {value:.4g}" for name, value in summary.items()))
        log_metrics(summary)


if __name__ == "__main__":
    main(stage)
