"""Stage aflw2000: MFNet's landmarks on AFLW2000-3D, by yaw."""

import json
from pathlib import Path

import cv2
import mlflow

from mfnet.config import load_params
from mfnet.data.aflw2000 import load_aflw2000
from mfnet.errors import about
from mfnet.evaluation.protocol.aflw2000 import predict_landmarks, score, summarise
from mfnet.evaluation.sheets import landmark_sheet
from mfnet.reconstruct import Reconstructor
from pipeline.outputs import main, whole_folder
from pipeline.tracking import log_metrics, tracked

MODEL, TARGET = Path("models/mfnet"), Path("reports/aflw2000")


def stage() -> None:
    """Write reports/aflw2000/ (per_image.csv, means.json, pictures.png)."""
    params = load_params()
    root = params.data.aflw2000
    with tracked("aflw2000", {"aflw2000": str(root)}, [MODEL, root]):
        with about("data.aflw2000"):
            items = load_aflw2000(root)
        reconstructor = Reconstructor.load(MODEL)
        landmarks = predict_landmarks(reconstructor, items, params.evaluate.batch)
        per_image = score(items, landmarks)
        means = summarise(per_image)
        with whole_folder(TARGET) as folder:
            per_image.to_csv(folder / "per_image.csv", index=False, float_format="%.6f")
            (folder / "means.json").write_text(json.dumps(means, indent=1) + "\n")
            cv2.imwrite(str(folder / "pictures.png"), landmark_sheet(reconstructor, items, landmarks)[..., ::-1])
        mlflow.log_artifacts(str(TARGET), "aflw2000")
        log_metrics({"nme_percent": means["mean"]["nme_percent"]})


if __name__ == "__main__":
    main(stage)
