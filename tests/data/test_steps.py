from collections.abc import Iterable
from itertools import chain

import pytest
import torch

from mfnet.data.batches import TripletBatch
from mfnet.data.pairs import PairEvidence
from mfnet.data.steps import StepBatches


class Numbered:
    """As many triplets as asked for, the number of each in its pixels."""

    def __init__(self, triplets: int) -> None:
        self._triplets = triplets

    def __len__(self) -> int:
        return self._triplets

    def batch(self, positions: Iterable[int], with_pairs: bool) -> TripletBatch:
        numbers = torch.tensor(list(positions)).float()
        n = len(numbers)
        images = (numbers / 255).view(n, 1, 1, 1, 1).expand(n, 3, 3, 8, 8)
        evidence = PairEvidence(torch.ones(n, 4, 1, 2, 2), torch.ones(n, 4, 1, 2, 2), None)
        return TripletBatch(images, torch.zeros(n, 3, 68, 2), evidence if with_pairs else None)


def drawn(steps: StepBatches, step: int) -> list[int]:
    """Which triplets, from the pixel that jitter changes least."""
    return sorted((steps.batch(step).images[:, 0, 0, 4, 4] * 255).round().int().tolist())


def of(triplets: int, size: int, seed: int = 0) -> StepBatches:
    return StepBatches(Numbered(triplets), size, 0.0, seed)  # type: ignore[arg-type]


def test_every_epoch_has_every_triplet_once_and_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfnet.data.steps.augment", lambda batch, *others: batch)
    steps = of(12, 4)
    epochs = [[drawn(steps, 3 * epoch + place) for place in range(3)] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(chain(*epoch)) == list(range(12))
    assert epochs[0] != epochs[1]


def test_pairs_are_loaded_only_for_those_who_look_at_them() -> None:
    steps = of(12, 4)._replace(pairs_from=5)
    assert steps.batch(4).pairs is None
    assert steps.batch(5).pairs is not None


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    first, again, other = of(12, 4).batch(5), of(12, 4).batch(5), of(12, 4, seed=1).batch(5)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
