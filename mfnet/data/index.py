"""What lies in a Multi-PIE tree: one row per file, badly named files listed with the reason."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pandas as pd

from mfnet.data.landmarks import SIDECAR
from mfnet.data.multipie import Photograph, parse
from mfnet.errors import UserError

_META = ("meta", "highres")


def build_index(root: Path) -> pd.DataFrame:
    """Index the tree at root.

    Returns:
        Sorted by path: path, size, modified (ns), subject, session, recording, camera, illumination and problem
        (None for a well-named file). `attrs["landmarks"]` is the digest of the tree's landmarks.parquet, if it has one,
        so that other landmarks make another index.

    Raises:
        UserError: the folder is missing or holds no photograph.
    """
    if not root.is_dir():
        raise UserError(f"data.multipie: no folder {root}; expected Multi-PIE's root, which holds session01/")
    rows = []
    for folder, _, names in os.walk(root):
        place = Path(folder).relative_to(root)
        if any(part in _META for part in place.parts):
            continue
        for name in names:
            if name.endswith(".png"):
                status = os.stat(os.path.join(folder, name))
                rows.append(_row(place / name, status))
    index = pd.DataFrame(rows)
    if index.empty or index["problem"].notna().all():
        raise UserError(f"data.multipie: no photograph in {root}; expected session01/multiview/001/01/05_1/*.png")
    index = index.sort_values("path", ignore_index=True)
    sidecar = root / SIDECAR
    index.attrs["landmarks"] = hashlib.md5(sidecar.read_bytes()).hexdigest() if sidecar.is_file() else None
    return index


def _row(path: Path, status: os.stat_result) -> dict:
    found = parse(path)
    row = {"path": str(path), "size": status.st_size, "modified": status.st_mtime_ns}
    if isinstance(found, Photograph):
        return row | found._asdict() | {"problem": None}
    return row | dict.fromkeys(Photograph._fields[:3], -1) | {"camera": "", "illumination": -1, "problem": found}
