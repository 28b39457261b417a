"""Arrays of an .npz from outside, without pickles."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mfnet.errors import UserError


def read_npz(path: Path, expected: str) -> dict[str, Any]:
    """Every array of an .npz by its name.

    Args:
        path: of the file, which is there.
        expected: what the file should be, for the error.

    Raises:
        UserError: it is no .npz, it is damaged, or an array in it is pickled.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not an .npz file; expected {expected}")
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                arrays[name] = archive[name]
    except ValueError as error:
        raise UserError(
            f"{path}: holds pickled objects or a damaged array, which are not read; expected {expected}"
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); expected {expected}") from error
    return arrays
