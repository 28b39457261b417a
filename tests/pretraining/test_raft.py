"""Which pairs a training of RAFT sees when, and that it goes on from the weights that are packaged."""

import pytest
import torch

from mfnet.pretraining.motion import KINDS
from mfnet.pretraining.raft import StepBatches


class Counted:
    """Stands for MotionPairs: notes what it is asked for."""

    image_size = 128

    def seed(self, seed: int) -> None:
        self.drawn_from = seed

    def batch(self, **counts: int) -> dict[str, int]:
        return counts


@pytest.mark.parametrize(("settled", "first_texture"), [(0.5, 0.65), (0.0, 0.05)])
def test_kinds_of_pairs_change_until_they_are_settled(settled: float, first_texture: float) -> None:
    batches = StepBatches(steps=400, batch=64, image_sizes=[128], seed=0, settled=settled)
    batches.__dict__["_pairs"] = [Counted()]
    counts = torch.tensor([list(batches[step].values()) for step in (*range(10), *range(360, 400))]).float()  # type: ignore[attr-defined]
    texture = counts[:, KINDS.index("texture")] / counts.sum(1)
    assert texture[:10].mean() == pytest.approx(first_texture, abs=0.06)
    assert texture[10:].mean() == pytest.approx(0.05, abs=0.03)
    assert batches[7] == batches[7]
