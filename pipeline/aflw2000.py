"""Stage aflw2000: the first variant's landmarks on AFLW2000-3D, by yaw."""

import json
from pathlib import Path

import cv2
import mlflow

from mfnet.config import load_params
from mfnet.data.aflw2000 import load_aflw2000
from mfnet.evaluation.aflw2000 import picture_sheet, predict_landmarks, score, summarise
from mfnet.reconstruct import Reconstructor
from pipeline.stage import main, whole_file, whole_folder
from pipeline.tracking import log_metrics, tracked


def stage() -> None:
    """Write reports/metrics/aflw2000.json and reports/aflw2000/ (per_image.csv, pictures.png)."""
    params = load_params()
    root, model = params.data.aflw2000, Path("models") / params.train.variants[0]
    with tracked("aflw2000", {"aflw2000": str(root)}, [model, root]):
        items, reconstructor = load_aflw2000(root), Reconstructor.load(model)
        landmarks = predict_landmarks(reconstructor, items, params.evaluate.batch)
        per_image = score(items, landmarks)
        metrics = summarise(per_image)
        with whole_folder("reports/aflw2000") as folder:
            per_image.to_csv(folder / "per_image.csv", index=False, float_format="%.6f")
            cv2.imwrite(str(folder / "pictures.png"), picture_sheet(reconstructor, items, landmarks)[..., ::-1])
        with whole_file("reports/metrics/aflw2000.json") as path:
            path.write_text(json.dumps(metrics, indent=1) + "\n")
        mlflow.log_artifacts("reports/aflw2000", "aflw2000")
        log_metrics(metrics, prefix="aflw2000.")


if __name__ == "__main__":
    main(stage)
