"""The true parameters, and what replacing a prediction's by them does to its score."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import Sidecar
from mfnet.evaluation.attribution import attribution, true_parameters
from mfnet.evaluation.benchmark import plan, run
from mfnet.evaluation.methods.jobs import Photographs
from mfnet.evaluation.methods.oracle import ScanFit
from mfnet.evaluation.methods.parametric import ParametricMethod, in_camera
from mfnet.head import Flame, HeadModel, rotation_from_axis_angle
from mfnet.reconstruct import Reconstructor
from mfnet.render.camera import Crop


@pytest.mark.parametrize("position", [0, 20, 32])
def test_true_parameters_put_the_fitted_head_where_it_lies_at_its_own_size(
    head: HeadModel, root: Path, position: int
) -> None:
    flame, item = Flame(head), Benchmark(root).lab()[position]
    draw = torch.Generator().manual_seed(position)
    shape, expression = torch.randn(100, generator=draw), torch.randn(50, generator=draw)
    jaw, turn = torch.tensor([0.1, 0, 0]), 0.2 * torch.randn(3, generator=draw)
    moved, still = 0.02 * torch.randn(3, generator=draw), torch.zeros(3)
    pose = torch.cat([still, still, jaw, still, still])[None]
    plain = flame(shape[None], expression[None], pose).vertices[0]
    canonical = 1.1 * plain @ rotation_from_axis_angle(turn).T + moved
    fit = ScanFit(shape, expression, jaw, turn, 1.1, moved, 1000 * canonical.double().numpy())
    expected = (fit.vertices @ item.rotation.T + item.head_center) / 1000 / 1.1

    lens = Crop(120.0, 130.0, 170.0).lens(item.K)
    (metres,) = in_camera(flame, true_parameters(flame, fit, item, lens), lens)
    np.testing.assert_allclose(metres, expected, atol=2e-5)


def test_true_parts_lead_to_the_oracle_and_the_loader_away_from_it(head: HeadModel, root: Path) -> None:
    photographs = Photographs(root, Sidecar(root))
    jobs = [job for job in plan(Benchmark(root), [9]) if job.setting == "three_view" and job.item.focal == 2]  # type: ignore[union-attr]
    reconstructor = Reconstructor.fitting(head, device="cpu")
    # Without known focal lengths, as a network sees.
    reconstructor.in_perspective = False
    table = attribution(reconstructor, photographs, jobs, 1).set_index("what")
    cd = table["cd_mm"]
    np.testing.assert_allclose(table["cd_mm_f300"], cd)
    alone = run(ParametricMethod(reconstructor, photographs), jobs, 1).groupby("setting")["cd_mm"].mean()
    assert alone["three_view"] == pytest.approx(cd["as it is"], rel=1e-6)
    assert alone["three_view_own_size"] == pytest.approx(cd["in front of the true pinhole"], rel=1e-6)
    assert cd["all of them"] < 1.3
    assert cd["all of them"] == cd.min()
    assert cd["mean head, true pose"] > 1.5 * cd["all of them"]
    assert cd["all of them, as it is"] > 2 * cd["all of them"]
