"""What a training begins with: nothing, or the packaged weights, which its card then tells of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

NOTHING = "nothing"


def digest_of(weights: Path) -> str:
    """Names packaged weights in the settings of a training that begins with them."""
    return hashlib.blake2b(weights.read_bytes(), digest_size=6).hexdigest()


def card_of(card: Path) -> dict[str, Any]:
    """What the card of packaged weights says, and those before it, without their curves."""
    told = json.loads(card.read_text())
    for name in ("curve", "curve_columns"):
        told.pop(name, None)
    before = told.get("started_from")
    while before:
        before.pop("curve", None)
        before = before.get("started_from")
    return told
