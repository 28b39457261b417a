"""Stage synthesize: a head model and photographs of generated people in the licensed data sets' formats."""

import shutil
from pathlib import Path

from mfnet.config import load_params
from mfnet.head.packaged import PACKAGED_HEAD
from mfnet.synthesis.aflw2000_tree import synthesize_aflw2000
from mfnet.synthesis.facescape_tree import synthesize_facescape
from mfnet.synthesis.multipie_tree import synthesize_multipie
from pipeline.outputs import main, whole_folder
from pipeline.tracking import log_metrics, tracked

RAW = Path("data/raw")


def stage() -> None:
    """Write data/raw/head.npz, and data/raw/multipie, data/raw/facescape and data/raw/aflw2000."""
    params = load_params()
    made, seed, workers = params.synthesize, params.seed, params.engine.workers
    with tracked("synthesize", {"seed": seed, "synthesize": made.model_dump()}, []):
        head_path = RAW / "head.npz"
        RAW.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGED_HEAD, head_path)
        with whole_folder(RAW / "multipie") as folder:
            n_multipie = synthesize_multipie(folder, head_path, made, seed, workers)
        with whole_folder(RAW / "facescape") as folder:
            n_facescape = synthesize_facescape(folder, head_path, made, seed, workers)
        with whole_folder(RAW / "aflw2000") as folder:
            n_aflw2000 = synthesize_aflw2000(folder, head_path, made, seed, workers)
        counts = {"multipie_photographs": n_multipie, "facescape_images": n_facescape, "aflw2000_images": n_aflw2000}
        log_metrics(counts)


if __name__ == "__main__":
    main(stage)
