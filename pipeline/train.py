"""Stages train@VARIANT and train_again@VARIANT-SEED: MFNet with the variant's loss weights."""

from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd

from mfnet.config import load_params
from mfnet.data.batches import TripletData
from mfnet.data.store import FaceStore
from mfnet.flow import load_flow_estimator, weights_files
from mfnet.flow.store import FlowStore
from mfnet.head import load_head
from mfnet.losses import variant_loss
from mfnet.training import train
from pipeline.stage import main, whole_folder
from pipeline.tracking import log_metrics, made_from, tracked


def stage(training: str) -> None:
    """Write models/TRAINING/ and reports/curves/TRAINING/ (losses.csv, validation.csv, pictures).

    Args:
        training: a variant of the ablation, or one and another seed: "no_eye-1".
    """
    variant, params = load_params().of_training(training)
    loss = variant_loss(params.loss, variant)
    faces, triplets, flow = Path("data/faces"), Path("data/triplets.parquet"), Path("data/flow")
    inputs = [params.head.path, faces, triplets, flow]
    logged = {name: getattr(params, name).model_dump(mode="json") for name in ("head", "network", "train", "flow")}
    with (
        tracked("train", {"seed": params.seed, "loss": loss.model_dump(), **logged}, inputs, training),
        whole_folder(f"reports/curves/{training}") as curves,
    ):
        head = load_head(params.head)
        table = pd.read_parquet(triplets)
        stores = (FaceStore(faces), FlowStore(flow, with_flow=loss.multiop_form == "precomputed"))
        data = {split: TripletData(table, split, *stores) for split in ("train", "validation")}
        rows: list[dict[str, float]] = []

        def log(step: int, values: dict[str, float]) -> None:
            rows.append({"step": step, **values})
            log_metrics(values, step)

        def picture(step: int, image: np.ndarray) -> None:
            path = curves / f"step_{step:06d}.png"
            cv2.imwrite(str(path), image[..., ::-1])
            mlflow.log_artifact(str(path), "pictures")

        estimator = load_flow_estimator(params.flow.estimator, params.flow.updates)
        digest = made_from([*inputs, *weights_files(params.flow.estimator)])
        values = train(params, variant, loss, data, head, estimator, Path("models") / training, log, picture, digest)
        table = pd.DataFrame(rows).drop(columns="steps_per_second")
        validation = ["step", "landmark_error_validation"]
        table.drop(columns=validation[1]).to_csv(curves / "losses.csv", index=False)
        table[validation].dropna().to_csv(curves / "validation.csv", index=False)
        mlflow.log_artifact(f"models/{training}/model.safetensors", "model")
        mlflow.log_artifact(f"models/{training}/config.json", "model")
        print(", ".join(f"{name}: {value:.4g}" for name, value in values.items()))


if __name__ == "__main__":
    main(stage)
