"""Trainings that diverge."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from workbench import Workbench

from mfnet.errors import UserError
from mfnet.method.divergence import Watch, require_near
from mfnet.method.training import Silent, train


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_too_high_a_learning_rate_ends_in_one_line_and_leaves_a_checkpoint(
    bench: Workbench, tmp_path: Path, precision: Literal["32-true", "bf16-mixed"]
) -> None:
    setting = bench.setting(
        learning_rate=0.9, steps=60, checkpoint_every=1, warmup=0.0, precision=precision, multiop_after=1.0
    )
    with pytest.raises(
        UserError, match=r"^train: diverged at step \d+: .* is not finite for \w{12}(, \w{12})*;"
    ) as caught:
        train(setting, bench.material(), Silent(), tmp_path, None)
    assert "\n" not in str(caught.value)
    state = torch.load(io.BytesIO((tmp_path / "checkpoint.pt").read_bytes()[32:]), weights_only=True)
    assert all(value.isfinite().all() for name, value in state["network"].items() if "running" not in name)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_good_start_that_a_learning_rate_of_a_tenth_has_lost_ends_too(
    bench: Workbench, tmp_path: Path, precision: Literal["32-true", "bf16-mixed"]
) -> None:
    setting = bench.setting(learning_rate=0.1, steps=60, precision=precision, multiop_after=1.0)
    packaged = replace(setting, network=setting.network.model_copy(update={"weights": "packaged"}))
    with pytest.raises(UserError, match=r"^train: diverged at step \d+: .* for \w{12}(, \w{12})*;"):
        train(packaged, bench.material(), Silent(), tmp_path, None)


def test_losses_that_only_vary_are_no_divergence() -> None:
    require_near(4, [1.0, 2.9, 2.9, 2.9], list)
    require_near(5, [1.0, 9.0, 9.0, 2.0, 9.0], list)
    require_near(3, [1.0, 9.0, 9.0], list)
    with pytest.raises(UserError, match="step 4: the term singlelmk is 9 times what it was at first for t0;"):
        require_near(4, [1.0, 9.0, 9.0, 9.0], lambda: ["t0"])


def test_part_and_triplets_are_named() -> None:
    parts = {"camera": torch.zeros(3, 2), "light": torch.zeros(3, 2, 2)}
    Watch("32-true").parameters(7, parts, list)
    parts["light"][1, 0, 1] = torch.nan
    with pytest.raises(UserError, match=r"diverged at step 7: the network's light is not finite for t1;"):
        Watch("32-true").parameters(7, parts, lambda: ["t0", "t1", "t2"])


def test_the_term_is_named_and_of_many_triplets_some() -> None:
    losses = {"eye": torch.tensor(1.0), "lip": torch.tensor(torch.inf)}
    names = [f"t{k}" for k in range(6)]
    with pytest.raises(UserError, match=r"the term lip is not finite for t0, t1, t2, t3 and 2 more"):
        Watch("32-true").losses(1, losses, lambda: names)


def test_a_gradient_that_is_not_finite_names_its_term_and_in_half_precision_may_pass() -> None:
    def gradients() -> dict[str, torch.Tensor]:
        return {"eye": torch.zeros(2), "lip": torch.tensor([0.0, torch.nan])}

    overflown, fine = torch.tensor(torch.inf), torch.tensor(1.0)
    with pytest.raises(UserError, match="the gradient of lip is not finite"):
        Watch("bf16-mixed").gradient(1, overflown, gradients, lambda: ["t0"])
    half = Watch("16-mixed")
    for step in range(200):
        half.gradient(step, fine if step % 2 else overflown, gradients, lambda: ["t0"])
    for step in range(1, 50):
        half.gradient(step, overflown, gradients, lambda: ["t0"])
    with pytest.raises(UserError, match=r"diverged at step 50: the gradient of lip"):
        half.gradient(50, overflown, gradients, lambda: ["t0"])
