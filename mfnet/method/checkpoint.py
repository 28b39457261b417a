"""The state of an interrupted training, in the folder that the model will be written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

History = list[tuple[int, dict[str, float]]]
_NAME = "checkpoint.pt"


class Checkpoint:
    """Saves and restores a training; only one of the same key is restored."""

    def __init__(self, folder: Path, key: str) -> None:
        """Keep it in a folder.

        Args:
            folder: made where it is missing.
            key: of everything that the training depends on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._key = folder / _NAME, key

    def save(self, network: Any, optimizer: Any, step: int, history: History) -> None:
        """Write the state after so many steps, whole or not at all."""
        state = {"step": step, "key": self._key, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
        partial = self._path.with_name(_NAME + ".new")
        torch.save(state | {"history": json.dumps(history)}, partial)
        partial.replace(self._path)

    def restore(self, network: Any, optimizer: Any) -> tuple[int, History]:
        """The step to go on from and what was logged before it; 0 and nothing unless there is one with this key."""
        if not self._path.is_file():
            return 0, []
        state = torch.load(self._path, weights_only=True, map_location="cpu")
        if state.get("key") != self._key:
            return 0, []
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"]), [(step, values) for step, values in json.loads(state["history"])]

    def remove(self) -> None:
        """Forget it: the training has ended."""
        self._path.unlink(missing_ok=True)
