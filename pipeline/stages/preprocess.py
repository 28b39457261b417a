"""Stage preprocess: crops and landmarks, rejects with their reasons, and triplets."""

from pathlib import Path

import pandas as pd

from mfnet.config import load_params
from mfnet.data.faces import CropRules, preprocess
from mfnet.data.triplets import mine_triplets
from mfnet.errors import about
from mfnet.settings import open_detector
from pipeline.outputs import main, whole_file, whole_folder
from pipeline.tracking import log_metrics, tracked


def stage() -> None:
    """Write data/faces/, data/triplets.parquet and data/rejects.parquet."""
    params = load_params()
    data, index_path = params.data, Path("data/index.parquet")
    rules = CropRules(
        data.image_size, data.crop_scale, data.min_face_pixels, data.min_sharpness, params.network.assumed_focal
    )
    logged = {"data": data.model_dump(mode="json"), "landmarks": params.landmarks.model_dump()}
    with tracked("preprocess", logged, [index_path]):
        with whole_folder("data/faces") as folder:
            # A detector that is not there is told of before any photograph is read.
            detector = open_detector(params.landmarks, data.multipie)
            with about("data"):
                faces, rejects = preprocess(
                    pd.read_parquet(index_path), data.multipie, rules,
                    None if params.landmarks.detector == "sidecar" else detector, folder,
                    params.engine.workers, data.illuminations, data.focal,
                )  # fmt: skip
                triplets = mine_triplets(faces, data.triplets, data.side_yaw, data.validation_fraction, params.seed)
        for path, table in (("data/triplets.parquet", triplets), ("data/rejects.parquet", rejects)):
            with whole_file(path) as partial:
                table.to_parquet(partial)
        split = triplets["split"].value_counts()
        counts = {"faces": len(faces), "rejects": len(rejects), "triplets": len(triplets), **split.to_dict()}
        print(", ".join(f"{name}: {count}" for name, count in counts.items()))
        if split["train"] < data.triplets:
            print(f"the photographs allow only {split['train']} of the {data.triplets} training triplets asked for")
        log_metrics(counts)


if __name__ == "__main__":
    main(stage)
