"""Stage preprocess: crops and landmarks, rejects with their reasons, and triplets."""

from pathlib import Path

import pandas as pd

from mfnet.config import load_params
from mfnet.data.store import preprocess
from mfnet.data.triplets import mine_triplets
from pipeline.stage import main, whole_file, whole_folder
from pipeline.tracking import log_metrics, tracked


def stage() -> None:
    """Write data/faces/, data/triplets.parquet and data/rejects.parquet."""
    params = load_params()
    index_path = Path("data/index.parquet")
    logged = {"data": params.data.model_dump(mode="json"), "landmarks": params.landmarks.model_dump()}
    with tracked("preprocess", logged, [index_path]):
        with whole_folder("data/faces") as folder:
            faces, rejects = preprocess(
                pd.read_parquet(index_path), params.data, params.landmarks.detector, folder, params.engine.workers
            )
            triplets = mine_triplets(faces, params.data, params.seed)
        for path, table in (("data/triplets.parquet", triplets), ("data/rejects.parquet", rejects)):
            with whole_file(path) as partial:
                table.to_parquet(partial)
        split = triplets["split"].value_counts()
        counts = {"faces": len(faces), "rejects": len(rejects), "triplets": len(triplets), **split.to_dict()}
        print(", ".join(f"{name}: {count}" for name, count in counts.items()))
        if len(triplets) < params.data.triplets:
            print(f"the photographs allow only {len(triplets)} of the {params.data.triplets} triplets asked for")
        log_metrics(counts)


if __name__ == "__main__":
    main(stage)
