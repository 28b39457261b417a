"""Train RAFT-small on motion whose answer is known: `python -m mfnet.pretraining.raft`.

From nothing, random textures under smooth motion teach the features to match; they give way to generated faces
(`mfnet.pretraining.motion`) over the training. From the packaged weights (`--start packaged`) the kinds of pairs are
from the first step on what they end as otherwise. The batch of a step is a function of seed and step, so that an
interrupted training goes on as an unbroken one would.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.models.optical_flow import raft_small

from mfnet.errors import UserError
from mfnet.flow.estimator import PACKAGED_WEIGHTS, FlowEstimator, RaftFlow, raft_refinements, read_raft
from mfnet.head import HeadModel, anny_head
from mfnet.head.strangers import stranger
from mfnet.pretraining.motion import KINDS, MotionPairs, Pairs
from mfnet.pretraining.origin import NOTHING, card_of, digest_of

# The packaged head, and strangers to it; errors are told of another one.
_STRANGERS, _HELD_OUT = (2, 3, 4), 1
_DECAY = 0.8
# Shares of the kinds of pairs, in the order of KINDS, at the beginning and from half of the training on.
_FIRST_SHARES, _LAST_SHARES = (0.65, 0.15, 0.05, 0.05, 0.1, 0.0), (0.05, 0.25, 0.15, 0.3, 0.17, 0.08)
_SETTLED = 0.5
# The last steps are taken in full precision.
_FULL_PRECISION = 0.1


class StepBatches(Dataset[Pairs]):
    """The batch of every step, made as it is asked for."""

    def __init__(self, steps: int, batch: int, image_sizes: list[int], seed: int, settled: float) -> None:
        """Batches of so many pairs; the shares of their kinds change over the share `settled` of the steps."""
        self._steps, self._batch, self._image_sizes, self._seed = steps, batch, image_sizes, seed
        self._settled = settled

    @cached_property
    def _pairs(self) -> list[MotionPairs]:
        # Made where the batches are made, so that a process is sent four numbers and no heads.
        heads = [anny_head(), *(stranger(anny_head(), seed) for seed in _STRANGERS)]
        return [MotionPairs(heads, size, self._seed) for size in self._image_sizes]

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Pairs:
        generator = torch.Generator().manual_seed(self._seed * 10**7 + step)
        # Larger images are as much rarer and their batches as much smaller as they have more pixels.
        share = torch.tensor([pairs.image_size**-2.0 for pairs in self._pairs])
        pairs = self._pairs[int(torch.multinomial(share, 1, generator=generator))]
        couples = max(1, round(self._batch / 2 * (self._pairs[0].image_size / pairs.image_size) ** 2))
        along = min(1.0, step / (self._settled * self._steps)) if self._settled else 1.0
        shares = torch.lerp(torch.tensor(_FIRST_SHARES), torch.tensor(_LAST_SHARES), along)
        drawn = torch.multinomial(shares, couples, replacement=True, generator=generator).bincount(minlength=len(KINDS))
        pairs.seed(self._seed * 10**7 + step)
        # Two of a kind are made in the time of one.
        return pairs.batch(**dict(zip(KINDS, (2 * drawn).tolist(), strict=True)))


def end_point_error(predicted: Tensor, flow: Tensor, weight: Tensor) -> Tensor:
    """Mean length of the error in pixels where the weight is set; scalar."""
    return ((predicted - flow).norm(dim=1, keepdim=True) * weight).sum() / weight.sum().clamp(min=1)


@torch.no_grad()
def measure(estimator: FlowEstimator, head: HeadModel, image_size: int, pairs: int = 64) -> dict[str, dict[str, float]]:
    """Errors in pixels on pairs of a head, by kind: mean, median, and the mean of predicting no motion."""
    data = MotionPairs([head], image_size, seed=10**6)
    table = {}
    for kind in KINDS:
        errors, motions, lengths = [], [], []
        for _ in range(pairs // 8):
            batch = data.batch(**{kind: 8})
            predicted = estimator(batch.first, batch.second)
            errors.append(end_point_error(predicted, batch.flow, batch.weight).item())
            motions.append(end_point_error(torch.zeros_like(batch.flow), batch.flow, batch.weight).item())
            lengths.append((predicted - batch.flow).norm(dim=1)[batch.weight[:, 0] > 0])
        table[kind] = {
            "error": sum(errors) / len(errors), "median": torch.cat(lengths).median().item(),
            "motion": sum(motions) / len(motions),
        }  # fmt: skip
    return table


def sequence_loss(predictions: list[Tensor], pairs: Pairs) -> Tensor:
    """L1 error of every refinement, the later the heavier (Teed and Deng, "RAFT", ECCV 2020, equation 7)."""
    known = pairs.weight.sum().clamp(min=1)
    errors = [((prediction - pairs.flow).abs() * pairs.weight).sum() / known for prediction in predictions]
    return torch.stack([_DECAY ** (len(errors) - 1 - k) * error for k, error in enumerate(errors)]).sum()


def learning_rate_at(step: int, steps: int, highest: float) -> float:
    """A warm-up of 500 steps or of a tenth of them, if that is fewer, then a straight line down to nothing."""
    return highest * min((step + 1) / min(500, steps / 10), 1.02 * (1 - step / steps))


def pretrain(settings: dict[str, Any], work: Path, workers: int) -> None:
    """Train, resuming from `work/checkpoint.pt`, and write weights and training card beside the package's code.

    Args:
        settings: start (nothing, or the digest of the packaged weights, to begin with them), steps, batch, image_sizes,
            enlargement (how many times larger than they are RAFT sees images), updates, learning_rate, seed; only with
            the same is a checkpoint resumed.
        work: folder of the checkpoint.
        workers: processes that make the batches.
    """
    torch.manual_seed(settings["seed"])
    steps, updates, enlargement = (settings[name] for name in ("steps", "updates", "enlargement"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = raft_small() if settings["start"] == NOTHING else read_raft(PACKAGED_WEIGHTS)[0]
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["learning_rate"], weight_decay=1e-5)
    start, curve, spent = _resume(work, settings, model, optimizer)
    began, recent = time.time() - spent, []
    settled = _SETTLED if settings["start"] == NOTHING else 0.0
    data = StepBatches(steps, settings["batch"], settings["image_sizes"], settings["seed"], settled)
    # A forked process could not use numba's threads, which the rasterizer has.
    context = "spawn" if workers else None
    loader = DataLoader(
        data, batch_size=None, sampler=range(start, steps), num_workers=workers, multiprocessing_context=context,
        worker_init_fn=_on_one_thread if workers else None,
    )  # fmt: skip
    for step, pairs in enumerate(_on(device, loader), start):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, steps, settings["learning_rate"])
        with torch.autocast(device.type, torch.bfloat16, enabled=step < (1 - _FULL_PRECISION) * steps):
            predictions = raft_refinements(model, pairs.first, pairs.second, updates, enlargement)
        optimizer.zero_grad()
        sequence_loss(predictions, pairs).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(end_point_error(predictions[-1].detach(), pairs.flow, pairs.weight).item())
        if (step + 1) % 200 == 0 or step + 1 == steps:
            curve.append([step + 1, sum(recent) / len(recent)])
            recent = []
            print(f"step {step + 1}/{steps}  error {curve[-1][1]:.3f} px  {time.time() - began:.0f} s", flush=True)
            _save_checkpoint(work, settings, model, optimizer, (step + 1, curve, time.time() - began))
    package(model.cpu(), settings | {"seconds": round(time.time() - began), "curve": curve})


def _on_one_thread(worker: int) -> None:
    numba.set_num_threads(1)
    torch.set_num_threads(1)


def _on(device: torch.device, loader: DataLoader[Pairs]) -> Iterator[Pairs]:
    for pairs in loader:
        yield Pairs(*(tensor.to(device) for tensor in pairs))


def _save_checkpoint(work: Path, settings: dict, model: Any, optimizer: Any, progress: tuple) -> None:
    work.mkdir(parents=True, exist_ok=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": json.dumps(progress)}
    torch.save(state | {"settings": json.dumps(settings)}, work / "checkpoint.new")
    (work / "checkpoint.new").replace(work / "checkpoint.pt")


def _resume(work: Path, settings: dict, model: Any, optimizer: Any) -> tuple[int, list[list[float]], float]:
    """Step, curve and seconds of the checkpoint in the folder, or those of a beginning."""
    path = work / "checkpoint.pt"
    if not path.is_file():
        return 0, [], 0.0
    saved = torch.load(path, weights_only=True, map_location="cpu")
    if saved["settings"] != json.dumps(settings):
        raise UserError(f"{path} is of a training with {saved['settings']}; use these settings or another --work")
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    step, curve, seconds = json.loads(saved["progress"])
    return step, curve, seconds


def package(model: torch.nn.Module, card: dict) -> None:
    """Write the weights in half precision and the training card with the errors of those very weights."""
    estimator = RaftFlow(model.half().float(), card["updates"], card["enlargement"])
    head = stranger(anny_head(), _HELD_OUT)
    card["head"] = anny_head().fingerprint
    if card["start"] != NOTHING:
        card["started_from"] = card_of(PACKAGED_WEIGHTS.with_suffix(".json"))
    card["held_out_px"] = {f"{size} px": measure(estimator, head, size) for size in card["image_sizes"]}
    PACKAGED_WEIGHTS.parent.mkdir(exist_ok=True)
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, PACKAGED_WEIGHTS, metadata={"enlargement": str(card["enlargement"])})
    PACKAGED_WEIGHTS.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card["held_out_px"], indent=1))


def main() -> None:
    """Command line of the pretraining."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--start", choices=(NOTHING, "packaged"), default=NOTHING, help="weights to begin with")
    parser.add_argument("--steps", type=int, default=16000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[128, 160, 224])
    parser.add_argument("--enlargement", type=int, default=2, help="how many times larger RAFT sees the images")
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("data/flow_pretraining"))
    parser.add_argument("--workers", type=int, default=1, help="processes that make the batches")
    settings = vars(parser.parse_args())
    work, workers = settings.pop("work"), settings.pop("workers")
    if settings["start"] != NOTHING:
        settings["start"] = digest_of(PACKAGED_WEIGHTS)
    try:
        pretrain(settings, work, workers)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
