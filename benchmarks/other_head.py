"""The table's methods on people of another make: `python benchmarks/other_head.py head_ict.npz` after a `make repro`.

Makes a FaceScape benchmark of people drawn from a head model that nothing here was trained on or fitted with
(`mfnet convert ict CHECKOUT head_ict.npz` makes such a file from ICT-FaceKit), scores MFNet, refined and not, and the
baselines there, all with the head of params.yaml, and prints how far that set's landmarks lie from where the
head has them, CD in mm with its intervals over people, and the differences from MFNet. The set is kept in
`data/other_head/facescape`, and made again for another head, other settings or other code.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mfnet.config import Params, load_params
from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import Sidecar
from mfnet.evaluation.attribution import true_parameters
from mfnet.evaluation.benchmark import plan, run
from mfnet.evaluation.methods.jobs import Photographs
from mfnet.evaluation.methods.oracle import ScanFit, fit_item
from mfnet.evaluation.methods.registry import METHODS, MFNET, ONE_VIEW, build_method
from mfnet.evaluation.statistics.uncertainty import difference_table, mean_table
from mfnet.method.network import decode
from mfnet.reconstruct import Reconstructor
from mfnet.settings import directions
from mfnet.synthesis.facescape_tree import synthesize_facescape
from pipeline.outputs import whole_folder
from pipeline.tracking import made_from

ROOT = Path("data/other_head/facescape")


def make(head_path: Path, params: Params) -> None:
    """Write the benchmark, if that has not been done from the same head, settings and code."""
    made_of = f"{made_from([head_path])} {params.seed} {params.synthesize}"
    note = ROOT.with_name("made_of.txt")
    if ROOT.is_dir() and note.is_file() and note.read_text() == made_of:
        return
    with whole_folder(ROOT) as folder:
        synthesize_facescape(folder, head_path, params.synthesize, params.seed, params.engine.workers)
    note.write_text(made_of)


def landmark_gap(params: Params, model: Path, root: Path) -> float:
    """How far the landmarks of the lab's frontal photographs lie from those of the heads fitted to the scans, in mm."""
    reconstructor = Reconstructor.open(model, "cpu")
    photographs = Photographs(root, Sidecar(root))
    gaps = []
    for item in Benchmark(root).lab():
        if (item.focal, item.view) != (0, 0):
            continue
        photograph = photographs(item.image)
        fit = fit_item(item, reconstructor.head, directions(params.head))
        assert isinstance(fit, ScanFit)
        assert photograph is not None
        square = reconstructor.square(*photograph)
        lens = square.crop.lens(item.K)
        fitted = decode(reconstructor.flame, true_parameters(reconstructor.flame, fit, item, lens), lens=lens)
        pixels = (fitted.landmarks[0, :, :2] - square.landmarks).norm(dim=-1).mean() * square.crop.side / 2
        gaps.append(float(pixels) * item.head_center[2] / item.K[0, 0])
    return sum(gaps) / len(gaps)


def main() -> None:
    """Make, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("head", type=Path, help="head.npz of another make")
    parser.add_argument("--views", nargs="+", type=int, help="of the lab; all of params.yaml's if none is named")
    parser.add_argument("--model", type=Path, default=Path("models/mfnet"), help="a trained folder, or packaged")
    options = parser.parse_args()
    params = load_params()
    make(options.head, params)
    photographs = Photographs(ROOT, Sidecar(ROOT))
    scores = {}
    for name in METHODS:
        jobs = plan(Benchmark(ROOT), options.views or params.evaluate.lab_views, three_view=name not in ONE_VIEW)
        scores[name] = run(build_method(name, params, photographs, options.model), jobs, params.engine.workers)
    trainings = {name: [table] for name, table in scores.items()}
    for root in (params.data.facescape, ROOT):
        print(f"landmarks of {root} off the fitted heads': {landmark_gap(params, options.model, root):.2f} mm")
    for table in (mean_table(trainings), difference_table(trainings, MFNET)):
        print(table.drop(columns="trainings").to_markdown(index=False), end="\n\n")


if __name__ == "__main__":
    main()
