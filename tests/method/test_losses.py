import pytest
import torch
from torch import Tensor

from mfnet.config import LossParams
from mfnet.flow import FlowEstimator, load_flow_estimator
from mfnet.head import Directions
from mfnet.loss_terms import TERMS, VARIANTS, left_out
from mfnet.method import losses
from mfnet.method.network import mean_parameters


class Constant(FlowEstimator):
    """A flow of (2, -4) pixels wherever the first image is not black."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        seen = (first.sum(1, keepdim=True) > 0).float()
        return torch.cat([2 * seen, -4 * seen], 1) + 0 * second.mean()


def landmarks() -> tuple[Tensor, Tensor]:
    return torch.rand(3, 68, 2, dtype=torch.float64), torch.rand(3, 68, 2, dtype=torch.float64, requires_grad=True)


def test_equation_6_measures_the_flow_inside_the_mask() -> None:
    image, mask = torch.ones(2, 3, 16, 16), torch.zeros(2, 1, 16, 16)
    mask[:, :, :8] = 1
    assert losses.multiview_optical(Constant(), image, image, mask).item() == pytest.approx((2 + 4) / 8)
    assert losses.multiview_optical(Constant(), image, image, torch.zeros_like(mask)).item() == 0


def test_equation_6_pulls_a_shifted_render_back() -> None:
    """Descending the loss through a real estimator moves a shifted picture towards where it belongs."""
    estimator = load_flow_estimator("classical").double()
    rows = torch.linspace(-1, 1, 128, dtype=torch.float64)
    y, x = torch.meshgrid(rows, rows, indexing="ij")

    def blob(shift: Tensor) -> Tensor:
        return (0.5 + 0.4 * torch.sin(9 * (x - shift)) * torch.cos(7 * y)).expand(1, 3, -1, -1)

    photograph, mask = blob(torch.tensor(0.0)), torch.ones(1, 1, 128, 128, dtype=torch.float64)
    for offset in (0.04, -0.04):
        shift = torch.tensor(offset, dtype=torch.float64, requires_grad=True)
        value = losses.multiview_optical(estimator, photograph, blob(shift), mask)
        (gradient,) = torch.autograd.grad(value, shift)
        assert value.item() == pytest.approx(abs(offset), rel=0.25)
        assert gradient.item() * offset > 0


def test_the_precomputed_form_is_the_mean_l1_distance_inside_the_mask() -> None:
    projected = torch.rand(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    target, mask = torch.rand(2, 2, 4, 4, dtype=torch.float64), torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    mask[0, 0, 1, 2] = mask[1, 0, 3, 0] = 1
    expected = (projected - target).abs()[[0, 1], :, [1, 3], [2, 0]].sum() / 2
    assert losses.multiview_projection(projected, target, mask).item() == pytest.approx(expected.item())
    assert losses.multiview_projection(projected, target, 0 * mask).item() == 0
    assert torch.autograd.gradcheck(lambda p: losses.multiview_projection(p, target, mask), (projected,))


def test_equation_7_is_the_mean_l1_distance() -> None:
    detected, projected = landmarks()
    expected = sum((detected - projected).abs()[b, i].sum() for b in range(3) for i in range(68)) / (3 * 68)
    assert losses.single_view_keypoint(detected, projected).item() == pytest.approx(float(expected))


def test_a_landmark_counts_in_equation_7_by_how_exactly_it_is_found() -> None:
    detected, projected = landmarks()
    even, by_error = (losses.landmark_weights(rule, detected) for rule in ("even", "by_error"))
    assert even.mean().item() == pytest.approx(1)
    assert by_error.mean().item() == pytest.approx(1)
    torch.testing.assert_close(
        losses.single_view_keypoint(detected, projected, even), losses.single_view_keypoint(detected, projected)
    )
    # A contour's landmark is 3.5 times as far off as an eye's.
    assert (by_error[36] / by_error[0]).item() == pytest.approx(3.5**2)
    moved = projected.detach().clone()
    moved[:, 0] = detected[:, 0]
    gain = losses.single_view_keypoint(detected, projected, by_error)
    gain = gain - losses.single_view_keypoint(detected, moved, by_error)
    expected = by_error[0] * (detected - projected)[:, 0].abs().sum(-1).mean() / 68
    torch.testing.assert_close(gain, expected)


@pytest.mark.parametrize(
    ("loss", "pairs"), [(losses.eye_keypoint, losses.EYE_PAIRS), (losses.lip_keypoint, losses.LIP_PAIRS)]
)
def test_equations_8_and_9_compare_offsets_and_ignore_translation(loss, pairs) -> None:  # type: ignore[no-untyped-def]
    detected, projected = landmarks()
    expected = 0.0
    for b in range(3):
        for i, j in pairs:
            difference = (detected[b, i] - detected[b, j]) - (projected[b, i] - projected[b, j])
            expected += difference.abs().sum().item()
    assert loss(detected, projected).item() == pytest.approx(expected / (3 * len(pairs)))
    moved = projected + torch.tensor([0.3, -0.2])
    torch.testing.assert_close(loss(detected, moved), loss(detected, projected))


def test_equation_10_adds_the_lengths_and_is_smooth_at_zero() -> None:
    shape, expression, albedo = torch.tensor([[3.0, 4.0]]), torch.tensor([[5.0, 12.0]]), torch.tensor([[[8.0, 15.0]]])
    assert losses.regularisation(shape, expression, albedo).item() == pytest.approx(5 + 13 + 17)
    zero = torch.zeros(1, 2, requires_grad=True)
    losses.regularisation(zero, zero, zero[:, None]).backward()
    assert zero.grad is not None
    assert torch.isfinite(zero.grad).all()


def test_equation_11_weighs_and_leaves_out() -> None:
    values = dict(zip(TERMS, (float("nan"), 2.0, 3.0, 5.0, 7.0), strict=True))
    terms = {name: torch.tensor(value) for name, value in values.items()}
    weights = {"multiop": 0.0, "singlelmk": 1.0, "eye": 1.0, "lip": 0.5, "reg": 1e-4}
    assert losses.total(terms, weights).item() == pytest.approx(2 + 3 + 2.5 + 7e-4)


def test_keypoint_gradients_agree_with_finite_differences() -> None:
    detected, projected = landmarks()
    for loss in (losses.single_view_keypoint, losses.eye_keypoint, losses.lip_keypoint):
        assert torch.autograd.gradcheck(lambda p, loss=loss: loss(detected, p), (projected,))


def test_every_registered_term_is_computed_and_named_as_it_is_registered() -> None:
    detected, projected = landmarks()
    parameters = mean_parameters(3, 1, Directions(4, 3, 2))
    evidence = losses.Evidence(detected, projected, parameters, lambda: torch.tensor(0.25))
    terms = losses.compute_losses(evidence)
    assert list(terms) == list(TERMS)
    assert terms["multiop"].item() == 0.25
    torch.testing.assert_close(terms["eye"], losses.eye_keypoint(detected, projected))


def test_a_variant_is_the_base_with_one_weight_at_zero() -> None:
    base = LossParams.model_validate({"multiop": 1, "singlelmk": 1, "eye": 1, "lip": 0.5, "reg": 1e-4})
    assert base.without(left_out("full")) == base
    for variant in VARIANTS[1:]:
        term = left_out(variant)
        assert term is not None
        assert base.without(term).weights == base.weights | {term: 0.0}
