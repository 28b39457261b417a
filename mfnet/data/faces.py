"""Preprocessed faces: encoded crops and landmarks in Parquet, one shard per subject and session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mfnet.data.crop import crop_around, cut, encode_jpeg, image_of, normalised, read_image
from mfnet.data.landmarks import N_LANDMARKS, LandmarkDetector, exact_landmarks, landmark_detector
from mfnet.data.multipie import CAMERA_YAW
from mfnet.errors import UserError
from mfnet.parallel import parallel_map
from mfnet.render.camera import centred_intrinsics

_MAX_OUTSIDE = 0.25
_OPEN_SHARDS = 256
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("subject", pa.int32()),
        ("session", pa.int32()),
        ("recording", pa.int32()),
        ("camera", pa.string()),
        ("illumination", pa.int32()),
        ("yaw", pa.float32()),
        ("crop", pa.list_(pa.float32(), 3)),
        # Focal length and principal point in the crop's [-1, 1]; null where the photograph's focal length is not known.
        ("lens", pa.list_(pa.float32(), 3)),
        ("landmarks", pa.list_(pa.float32(), 2 * N_LANDMARKS)),
        # Those that a held-out error is taken against: where they truly are, the detector's where nobody knows it.
        ("landmarks_reference", pa.list_(pa.float32(), 2 * N_LANDMARKS)),
        ("image", pa.binary()),
    ]
)


class CropRules(NamedTuple):
    """What becomes of a photograph.

    image_size: pixels a side of the crop; scale: of its side, see `crop_around`; min_face_pixels: extent of the
    landmarks below which a face is rejected; min_sharpness: standard deviation of the Laplacian, likewise;
    assumed_focal: length where it is not known, in lengths of the photograph's longer side.
    """

    image_size: int
    scale: float
    min_face_pixels: float
    min_sharpness: float
    assumed_focal: float | None = None


def preprocess(
    index: pd.DataFrame, root: Path, rules: CropRules, detector: LandmarkDetector | None, target: Path,
    workers: int | None, illuminations: Sequence[int] | None = None, focal: float | dict[str, float] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Crop every indexed photograph into shards `target/<subject>_<session>.parquet`.

    Args:
        index: of `mfnet.data.index.build_index`.
        root: of Multi-PIE.
        rules: for crops and rejects.
        detector: of the landmarks; None reads them from the side file.
        target: folder of the shards.
        workers: processes; None is one per core. Some detectors work in one alone.
        illuminations: which of Multi-PIE's lights; None is all of them.
        focal: length in the photographs' pixels, of every camera or by its name; None where it is not known.

    Returns:
        The faces kept (all columns but the image, and shard and row), and the rejects (path, reason).

    Raises:
        UserError: nothing was kept, or a camera lacks its focal length.
    """
    target.mkdir(parents=True, exist_ok=True)
    bad_names = index.loc[index["problem"].notna(), ["path", "problem"]]
    rejects = [bad_names.rename(columns={"problem": "reason"})]
    usable = index[index["problem"].isna()]
    if illuminations is not None:
        usable = usable[usable["illumination"].isin(illuminations)]
    focals = _focal_by_camera(usable["camera"].unique(), focal)
    groups = [group for _, group in usable.groupby(["subject", "session"], sort=True)]
    work = partial(_preprocess_shard, root=root, rules=rules, detector=detector, target=target, focals=focals)
    faces = []
    for kept, rejected in parallel_map(work, groups, "faces", 1 if detector and detector.one_process else workers):
        faces.append(kept)
        rejects.append(rejected)
    rejected = pd.concat(rejects, ignore_index=True)
    if not sum(map(len, faces)):
        reason = rejected["reason"].value_counts().index[0] if len(rejected) else "no photograph of these illuminations"
        raise UserError(f"none of {len(index)} photographs was kept; the most frequent reason: {reason}")
    return pd.concat(faces, ignore_index=True), rejected


def _focal_by_camera(cameras: Iterable[str], focal: float | dict[str, float] | None) -> dict[str, float]:
    """Camera -> focal length; nothing where none is known."""
    if focal is None:
        return {}
    focals = focal if isinstance(focal, dict) else dict.fromkeys(cameras, focal)
    missing = sorted(set(cameras) - focals.keys())
    if missing:
        raise UserError(f"focal: no length for camera {missing[0]}; expected one for each, or one number for all")
    return focals


def _preprocess_shard(
    group: pd.DataFrame,
    root: Path,
    rules: CropRules,
    detector: LandmarkDetector | None,
    target: Path,
    focals: dict[str, float],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    find = landmark_detector("sidecar", root) if detector is None else detector
    rows, rejects = [], []
    for row in group.to_dict("records"):
        face = _preprocess_photograph(row, root, rules, find, focals.get(row["camera"]))
        if isinstance(face, str):
            rejects.append({"path": row["path"], "reason": face})
        else:
            rows.append(face)
    shard = f"{group['subject'].iloc[0]:03d}_{group['session'].iloc[0]:02d}"
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, target / f"{shard}.parquet", row_group_size=64, compression="none")
    kept = table.drop_columns(["image"]).to_pandas()
    kept["shard"], kept["row"] = shard, np.arange(len(kept))
    return kept, pd.DataFrame(rejects, columns=["path", "reason"])


def _preprocess_photograph(
    row: dict, root: Path, rules: CropRules, find: LandmarkDetector, focal: float | None
) -> dict | str:
    """A row of the store, or why this photograph is rejected."""
    image = read_image(root / row["path"])
    if image is None:
        return "unreadable image"
    landmarks = find(row["path"], image)
    if landmarks is None:
        return "no face found"
    crop = crop_around(landmarks, rules.scale)
    extent = np.ptp(landmarks, axis=0).max()
    if extent < rules.min_face_pixels:
        return f"face of {extent:.0f} pixels, below min_face_pixels {rules.min_face_pixels:g}"
    height, width = image.shape[:2]
    outside = ((landmarks < 0) | (landmarks > [width, height])).any(1).mean()
    if outside > _MAX_OUTSIDE:
        return f"{outside:.0%} of the landmarks lie outside the photograph"
    if focal is None and rules.assumed_focal is not None:
        focal = rules.assumed_focal * max(height, width)
    square = cut(image, crop, rules.image_size)
    sharpness = float(cv2.Laplacian(cv2.cvtColor(square, cv2.COLOR_RGB2GRAY), cv2.CV_64F).std())
    if sharpness < rules.min_sharpness:
        return f"blurred: sharpness {sharpness:.1f}, below min_sharpness {rules.min_sharpness:g}"
    known = exact_landmarks(root)
    reference = known(row["path"], image) if known is not None else None
    reference = landmarks if reference is None else reference
    return {
        **{name: row[name] for name in ("path", "subject", "session", "recording", "camera", "illumination")},
        "yaw": CAMERA_YAW[row["camera"]],
        "crop": list(crop),
        "lens": None if focal is None else crop.lens(centred_intrinsics((height, width), focal)).numbers()[0],
        "landmarks": normalised(landmarks, crop).astype(np.float32).ravel(),
        "landmarks_reference": normalised(reference, crop).astype(np.float32).ravel(),
        "image": encode_jpeg(square),
    }


class FaceStore:
    """Reads crops back from the shards; the encoded bytes of the shards last used stay in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images = lru_cache(maxsize=_OPEN_SHARDS)(self._read)

    def __reduce__(self) -> tuple[type[FaceStore], tuple[Path]]:
        # Another process reads for itself.
        return FaceStore, (self._folder,)

    def _read(self, shard: str) -> pa.ChunkedArray:
        path = self._folder / f"{shard}.parquet"
        if not path.is_file():
            raise UserError(f"faces: {path} is missing; run the preprocess stage")
        return pq.read_table(path, columns=["image"], memory_map=True)["image"]

    def image(self, shard: str, row: int) -> np.ndarray:
        """RGB uint8 [S, S, 3] of a face."""
        return image_of(self._images(shard)[row].as_py())
