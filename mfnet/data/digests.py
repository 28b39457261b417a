"""Digests of files' contents, and a memory of them: a file that has not changed is not read again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd

from mfnet.parallel import parallel_map

_TOGETHER = 256
# By the time of its last change of any kind, too: a copy may keep the time at which the content was written.
_STATUS = ["size", "written", "changed"]


def digests_of(root: Path, paths: Sequence[Path], memory: Path | None = None, workers: int | None = 1) -> list[str]:
    """Digests of files under a folder.

    Args:
        root: the folder.
        paths: relative to it.
        memory: a Parquet file of digests, which is read, and written anew where there is one; a damaged one is no help.
        workers: processes that read the files; None is one per core.
    """
    if not paths:
        return []
    now = pd.DataFrame([_status(root / path) for path in paths], columns=_STATUS)
    now["path"] = [str(path) for path in paths]
    known = now.merge(_remembered(memory, root), on=["path", *_STATUS], how="left")
    unknown = [path for path, digest in zip(paths, known["digest"], strict=True) if pd.isna(digest)]
    chunks = [unknown[start : start + _TOGETHER] for start in range(0, len(unknown), _TOGETHER)]
    read = chain.from_iterable(parallel_map(partial(_read, root=root), chunks, "index", workers) if chunks else [])
    known.loc[known["digest"].isna(), "digest"] = list(read)
    if memory is not None and unknown:
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial_file = memory.with_name(memory.name + ".partial")
        known.assign(root=str(root.resolve())).to_parquet(partial_file)
        partial_file.replace(memory)
    return known["digest"].tolist()


def _remembered(memory: Path | None, root: Path) -> pd.DataFrame:
    nothing = pd.DataFrame({"path": pd.Series(dtype=str), **{name: pd.Series(dtype="int64") for name in _STATUS}})
    nothing["digest"] = pd.Series(dtype=str)
    if memory is None or not memory.is_file():
        return nothing
    try:
        table = pd.read_parquet(memory)
        return table.loc[table["root"] == str(root.resolve()), ["path", *_STATUS, "digest"]]
    except (OSError, ValueError, KeyError):
        return nothing


def _status(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(paths: list[Path], root: Path) -> list[str]:
    return [hashlib.blake2b((root / path).read_bytes(), digest_size=16).hexdigest() for path in paths]
