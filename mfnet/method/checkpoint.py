"""The state of an interrupted training, in the folder that the model will be written to."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

History = list[tuple[int, dict[str, float]]]
# The newest, and the one before it.
_NEWEST, _BEFORE = "checkpoint.pt", "checkpoint_before.pt"
_DIGEST_SIZE = 32


class Checkpoint:
    """Saves and restores a training; only one of the same key is restored. The last two are kept.

    A file is a digest of what follows, then what torch writes: half a file or a flipped bit is noticed.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Keep it in a folder.

        Args:
            folder: made where it is missing.
            key: of everything that the training depends on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key = folder, key
        # Only one that is known to be whole takes the place of the one before it.
        self._newest_is_whole = False

    def save(self, network: Any, optimizer: Any, step: int, history: History) -> None:
        """Write the state after so many steps, whole or not at all."""
        state = {"step": step, "key": self._key, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
        content = io.BytesIO()
        torch.save(state | {"history": json.dumps(history)}, content)
        newest, partial = self._folder / _NEWEST, self._folder / f"{_NEWEST}.new"
        with partial.open("wb") as file:
            file.write(_digest(content.getbuffer()))
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if self._newest_is_whole:
            newest.replace(self._folder / _BEFORE)
        partial.replace(newest)
        self._newest_is_whole = True

    def restore(self, network: Any, optimizer: Any) -> tuple[int, History]:
        """The step to go on from and what was logged before it; 0 and nothing unless there is one with this key.

        A damaged one is named, and the one before it restored.
        """
        for path in (self._folder / _NEWEST, self._folder / _BEFORE):
            if not path.is_file():
                continue
            state = _read(path)
            if state is None:
                print(f"checkpoint: {path} is damaged, and left alone", file=sys.stderr)
            elif state["key"] == self._key:
                self._newest_is_whole = path.name == _NEWEST
                network.load_state_dict(state["network"])
                optimizer.load_state_dict(state["optimizer"])
                return int(state["step"]), [(step, values) for step, values in json.loads(state["history"])]
        return 0, []


def remove_checkpoints(folder: Path) -> None:
    """Forget a training that has ended, when what it gave has been written."""
    for name in (_NEWEST, _BEFORE, f"{_NEWEST}.new"):
        (folder / name).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    content = path.read_bytes()
    digest, state = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    if digest != _digest(state):
        return None
    return torch.load(io.BytesIO(state), weights_only=True, map_location="cpu")


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()
