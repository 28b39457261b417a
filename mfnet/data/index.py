"""What lies in a Multi-PIE tree: one row per file, badly named files listed with the reason."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pandas as pd

from mfnet.data.digests import digests_of
from mfnet.data.landmarks import SIDECAR
from mfnet.data.multipie import Photograph, parse
from mfnet.errors import UserError

_META = ("meta", "highres")


def build_index(root: Path, workers: int | None = 1, memory: Path | None = None) -> pd.DataFrame:
    """Index the tree at root.

    Args:
        root: of Multi-PIE.
        workers: processes that read the files; None is one per core.
        memory: of digests, so that files that have not changed are not read again; see `mfnet.data.digests`.

    Returns:
        Sorted by path: path, digest of the content, subject, session, recording, camera, illumination and problem
        (None for a well-named file). `attrs["landmarks"]` is the digest of the tree's landmarks.parquet, if it has one,
        so that other landmarks make another index.

    Raises:
        UserError: the folder is missing or holds no photograph.
    """
    if not root.is_dir():
        raise UserError(f"no folder {root}; expected Multi-PIE's root, which holds session01/")
    paths = []
    for folder, _, names in os.walk(root):
        place = Path(folder).relative_to(root)
        if not any(part in _META for part in place.parts):
            paths += [place / name for name in names if name.endswith(".png")]
    # By content and not by time: a tree that was copied anew is the same tree.
    digests = digests_of(root, paths, memory, workers)
    index = pd.DataFrame([_row(path, digest) for path, digest in zip(paths, digests, strict=True)])
    if index.empty or index["problem"].notna().all():
        raise UserError(f"no photograph in {root}; expected session01/multiview/001/01/05_1/*.png")
    index = index.sort_values("path", ignore_index=True)
    sidecar = root / SIDECAR
    index.attrs["landmarks"] = hashlib.md5(sidecar.read_bytes()).hexdigest() if sidecar.is_file() else None
    return index


def _row(path: Path, digest: str) -> dict:
    photograph = parse(path)
    row = {"path": str(path), "digest": digest}
    if isinstance(photograph, Photograph):
        return row | photograph._asdict() | {"problem": None}
    return row | dict.fromkeys(Photograph._fields[:3], -1) | {"camera": "", "illumination": -1, "problem": photograph}
