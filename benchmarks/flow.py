"""What each flow estimator is worth here: `python benchmarks/flow.py` prints three Markdown tables.

The first has errors in pixels on pairs of a held-out head whose flow is known (`mfnet.pretraining.motion`), and the
time of a pair beside OpenCV's DIS. The second has, for every form of equation 6, the time of the term with its gradient
for four pairs, and where that gradient points: its cosine with the way back to the true parameters, from parameters
that miss them as a half-trained network does. Its last row is the landmark term of equation 7. The third has by how
many pixels, over the covisible mask, the same skin in two photographs is missed: by the head alone ("no flow"), and by
the head with the flow to its render. It starts from those parameters, and from a fit to landmarks, exact ones or as
noisy as a detector's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity

from mfnet.config import FitParams
from mfnet.data.batches import TripletBatch
from mfnet.data.pairs import PAIR_VIEWS, PAIRS, REVERSED_PAIRS, PairEvidence
from mfnet.errors import UserError
from mfnet.fitting.guided_flow import GuidedFlow, by_landmarks
from mfnet.fitting.landmark_fit import LandmarkFit
from mfnet.flow import FlowEstimator, load_flow_estimator
from mfnet.head import Directions, HeadModel, anny_head
from mfnet.head.strangers import stranger
from mfnet.method import losses
from mfnet.method.covisible import pair_landmark_masks
from mfnet.method.multiview import correspondences, measured_pairs, project_pairs, render_pairs
from mfnet.method.network import Parameters, decode, mean_parameters
from mfnet.method.views import Decoder, ProjectedPairs, Scene, ViewPairs
from mfnet.pretraining.motion import KINDS, exact_flow
from mfnet.pretraining.raft import end_point_error, measure
from mfnet.render import Renderer
from mfnet.render.renderer import View

NAMES = ("packaged", "classical", "dis", "torchvision:small", "torchvision:large")
_SIZE, _STRIDE, _N_ALBEDO = 128, 4, 20
_DIRECTIONS = Directions(n_albedo=_N_ALBEDO)
_PAIRS_A_STEP = 4
_YAWS = (15, 30, 45, 60, 75)
# Of a landmark, a deviation in [-1, 1]: about two per cent of the distance of the outer eye corners.
_NOISE = 0.02
# How far the parameters miss the truth: standard deviations of the groups whose gradient is looked at.
_MISSED = {"shape": 0.7, "expression": 0.4, "rotation": 0.05, "camera": 0.02}


def estimators() -> dict[str, FlowEstimator]:
    """All that run on this machine."""
    loaded: dict[str, FlowEstimator] = {}
    for name in NAMES:
        try:
            loaded[name] = load_flow_estimator(name)
        except UserError as error:
            print(f"{name} left out: {error}")
    return loaded


def seconds(call: Callable[[], object], rounds: int = 7) -> float:
    """Median of a few calls after a first."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def error_table(head: HeadModel, image_size: int) -> pd.DataFrame:
    """End-point errors by kind of pair, means and medians, and the time of a pair as a multiple of DIS's."""
    images = torch.rand(2, 8, 3, image_size, image_size)
    rows = []
    with torch.no_grad():
        peer = load_flow_estimator("dis")
        base = seconds(lambda: peer(*images))
        for name, estimator in estimators().items():
            errors = measure(estimator, head, image_size)
            took = seconds(lambda estimator=estimator: estimator(*images))  # type: ignore[misc]
            row: dict[str, object] = {"estimator": name, **{kind: errors[kind]["error"] for kind in KINDS}}
            rows.append(row | {"ms a pair": 1e3 * took / 8, "time / DIS": took / base})
            rows.append({"estimator": f"{name}, median", **{kind: errors[kind]["median"] for kind in KINDS}})
        rows.append({"estimator": "no motion", **{kind: errors[kind]["motion"] for kind in KINDS}})
    return pd.DataFrame(rows)


class Triplets:
    """Generated people photographed from the front and from both sides, with all that is true of them."""

    def __init__(self, head: HeadModel, people: int, yaw: float, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.head, self.decoder = head, Decoder.of(head, _DIRECTIONS, _SIZE, 128)
        self.flame, self.renderer = self.decoder
        start = mean_parameters(people, 3, _DIRECTIONS)
        rotation = 0.05 * torch.randn(people, 3, 3, generator=draw)
        rotation[:, 1, 1] -= yaw
        rotation[:, 2, 1] += yaw
        albedo = torch.randn(people, 1, _N_ALBEDO, generator=draw).expand(-1, 3, -1)
        light = start.light + 0.15 * torch.randn(people, 1, 9, 3, generator=draw)
        light[:, :, 3] += 0.6
        self.true = start._replace(
            shape=torch.randn(people, 100, generator=draw), expression=0.5 * torch.randn(people, 50, generator=draw),
            rotation=rotation, camera=0.03 * torch.randn(people, 3, 3, generator=draw), albedo=albedo, light=light,
        )  # fmt: skip
        moved = {}
        for name, size in _MISSED.items():
            at = getattr(self.true, name)
            moved[name] = at + size * torch.randn(at.shape, generator=draw)
        self.missed = self.true._replace(**moved)
        self.images, self.landmarks = self._photograph()
        self.selection = torch.tensor([[person, pair] for person in range(people) for pair in range(len(PAIRS))])

    def _photograph(self) -> tuple[Tensor, Tensor]:
        people = len(self.true.shape)
        decoded = decode(self.flame, self.true)
        view = self.renderer.view(decoded.vertices, decoded.projected)
        # The lamps stay with the head while the cameras go round it, as in Multi-PIE: lit as the front is.
        lit = self.renderer.shaded_texture(
            view.normals[::3], self.renderer.albedo(self.true.albedo[:, 0]), self.true.light[:, 0]
        )
        pictures = self.renderer.render(lit.repeat_interleave(3, 0), view).clamp(0, 1)
        background = torch.full_like(pictures, 0.4)
        shown = torch.where((view.fragments.pix_to_face >= 0)[:, None], pictures, background)
        return shown.unflatten(0, (people, 3)), decoded.landmarks[..., :2].unflatten(0, (people, 3))

    def batch(self, estimator: FlowEstimator) -> TripletBatch:
        """With the flow stage's masks, consistency and targets by an estimator."""
        yaws = torch.rad2deg(self.true.rotation[..., 1])
        masks = pair_landmark_masks(self.landmarks, yaws, PAIR_VIEWS, _SIZE // _STRIDE)
        guided = GuidedFlow(self.head, by_landmarks(self.head, _DIRECTIONS, FitParams()), _SIZE, estimator)(
            self.images, self.landmarks, yaws
        )
        return self._with(guided.flow[:, REVERSED_PAIRS], guided.agreement[:, :, None].float(), masks)

    def exactly(self) -> TripletBatch:
        """With the targets and the covisibility that are true."""
        batch, people = self.batch(NoFlow()), len(self.images)
        flow, covisible = _true_flow(self, ViewPairs.of_batch(batch, self.selection, consistency=False))
        backward, agreement = (part.unflatten(0, (people, len(PAIRS))) for part in (flow, covisible.float()))
        return self._with(backward, agreement, batch.pairs.landmark_mask)

    def _with(self, backward: Tensor, agreement: Tensor, masks: Tensor) -> TripletBatch:
        """With flow [B, P, 2, S, S] in pixels from b to a."""
        size = _SIZE // _STRIDE
        middle = (torch.arange(size) + 0.5) * 2 / size - 1
        here = torch.stack(torch.meshgrid(middle, middle, indexing="xy"))

        def pooled(part: Tensor) -> Tensor:
            return avg_pool2d(part.flatten(0, 1), _STRIDE).unflatten(0, part.shape[:2])

        target = here + pooled(backward) * (2 / _SIZE)
        return TripletBatch(
            self.images, self.landmarks, PairEvidence(masks, (pooled(agreement) > 0.999).float(), target)
        )


class TextureHeld(Renderer):
    """A renderer through whose texture no gradient reaches where it was sampled in the source photograph."""

    def extract(self, photograph: Tensor, view: View) -> tuple[Tensor, Tensor]:
        """See Renderer."""
        texture, weight = super().extract(photograph, view)
        return texture.detach(), weight


def gradient_table(head: HeadModel, people: int, yaw_degrees: float) -> pd.DataFrame:
    """Every form of equation 6 with every estimator: time of four pairs, mean cosine of the gradient by group."""
    triplets = Triplets(head, people, float(np.radians(yaw_degrees)), seed=0)
    held = Decoder(triplets.flame, TextureHeld(head, _SIZE, 128, _N_ALBEDO))
    rows = []
    for name, estimator in estimators().items():
        for form, term in _forms(triplets, triplets.batch(estimator), estimator, held).items():
            rows.append({"form": form, "estimator": name, **_judged(triplets, term)})

    known = triplets.exactly()

    def exact(parameters: Parameters, selection: Tensor) -> Tensor:
        pairs = ViewPairs.of_batch(known, selection, consistency=True)
        return _loss(project_pairs(triplets.decoder, Scene(parameters, triplets.images), pairs))

    rows.append({"form": "precomputed", "estimator": "exact flow", **_judged(triplets, exact)})

    def landmarks(parameters: Parameters, selection: Tensor) -> Tensor:
        projected = decode(triplets.flame, parameters).landmarks[..., :2]
        return losses.single_view_keypoint(triplets.landmarks.flatten(0, 1), projected)

    rows.append({"form": "equation 7", "estimator": "-", **_judged(triplets, landmarks)})
    return pd.DataFrame(rows)


Term = Callable[[Parameters, Tensor], Tensor]


def _loss(pairs: ProjectedPairs) -> Tensor:
    return losses.multiview_projection(pairs.projected, pairs.target, pairs.mask)


def _forms(triplets: Triplets, batch: TripletBatch, estimator: FlowEstimator, held: Decoder) -> dict[str, Term]:
    """Equation 6 in every form that the estimator allows: parameters and selected pairs to the term."""

    def in_loop_by(decoder: Decoder) -> Term:
        def term(parameters: Parameters, selection: Tensor) -> Tensor:
            pairs = ViewPairs.of_batch(batch, selection, consistency=False)
            rendered = render_pairs(decoder, Scene(parameters, batch.images), pairs)
            return losses.multiview_optical(estimator, rendered.photograph, rendered.rendered, rendered.mask)

        return term

    def measured(parameters: Parameters, selection: Tensor) -> Tensor:
        pairs = ViewPairs.of_batch(batch, selection, consistency=False)
        return _loss(measured_pairs(triplets.decoder, Scene(parameters, batch.images), pairs, estimator))

    def precomputed(parameters: Parameters, selection: Tensor) -> Tensor:
        pairs = ViewPairs.of_batch(batch, selection, consistency=True)
        return _loss(project_pairs(triplets.decoder, Scene(parameters, batch.images), pairs))

    forms: dict[str, Term] = {"measured": measured, "precomputed": precomputed}
    if estimator.differentiable:
        forms = {"in_loop": in_loop_by(triplets.decoder), "in_loop, texture held": in_loop_by(held), **forms}
    return forms


def _judged(triplets: Triplets, term: Term) -> dict[str, float]:
    free = {name: getattr(triplets.missed, name).clone().requires_grad_() for name in _MISSED}
    missed = triplets.missed._replace(**free)
    value = term(missed, triplets.selection)
    gradients = torch.autograd.grad(value, list(free.values()))
    few = triplets.selection[:_PAIRS_A_STEP]
    row = {"ms for 4 pairs": 1e3 * seconds(lambda: term(missed, few).backward(), rounds=3)}
    row |= {"at the miss": value.item(), "at the truth": term(triplets.true, triplets.selection).item()}
    for name, gradient in zip(_MISSED, gradients, strict=True):
        away = (getattr(triplets.missed, name) - getattr(triplets.true, name)).flatten(1)
        row[name] = cosine_similarity(gradient.flatten(1), away).mean().item()
    return row


class NoFlow(FlowEstimator):
    """Nothing has moved: the head is believed."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """See FlowEstimator."""
        return torch.zeros_like(first[:, :2])


def correspondence_table(head: HeadModel, people: int, yaws_degrees: tuple[int, ...]) -> pd.DataFrame:
    """Mean error in pixels of where view a shows the skin of view b's pixels, by yaw, start and estimator."""
    rows = []
    for yaw in yaws_degrees:
        triplets = Triplets(head, people, float(np.radians(yaw)), seed=0)
        nothing = NoFlow()
        batch = triplets.batch(nothing)
        pairs = ViewPairs.of_batch(batch, triplets.selection, consistency=False)
        true_flow, covisible = _true_flow(triplets, pairs)
        for start, parameters in _starts(triplets, head, batch.landmarks).items():
            row: dict[str, object] = {"yaw": yaw, "from": start}
            for name, estimator in {"no flow": nothing, **estimators()}.items():
                measured = correspondences(triplets.decoder, Scene(parameters, batch.images), pairs, estimator)
                flow = (measured.source - measured.target) * (_SIZE / 2)
                row[name] = end_point_error(flow, true_flow, covisible * measured.mask).item()
            rows.append(row)
    return pd.DataFrame(rows)


def _true_flow(triplets: Triplets, pairs: ViewPairs) -> tuple[Tensor, Tensor]:
    decoded = decode(triplets.flame, triplets.true)
    places = (pairs.view_b, pairs.view_a)
    views = (triplets.renderer.view(decoded.vertices[of], decoded.projected[of]) for of in places)
    return exact_flow(triplets.renderer, *views)


def _starts(triplets: Triplets, head: HeadModel, landmarks: Tensor) -> dict[str, Parameters]:
    """What the network's answer could be, and what a fit to the landmarks is, under the true light and skin."""
    fit = LandmarkFit(head, _DIRECTIONS, FitParams())
    noise = torch.randn(landmarks.shape, generator=torch.Generator().manual_seed(1))
    starts = {
        "a half-trained network": triplets.missed,
        "exact landmarks": fit(landmarks),
        f"landmarks off by {_NOISE * _SIZE / 2:.1f} px": fit(landmarks + _NOISE * noise),
    }
    known = {"albedo": triplets.true.albedo, "light": triplets.true.light}
    return {name: parameters._replace(**known) for name, parameters in starts.items()}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Error, cost and gradient quality of the flow estimators.")
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[128, 224])
    parser.add_argument(
        "--head", type=Path, help="a held-out head model; a stranger to the packaged one where not given"
    )
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--yaw", type=float, default=30.0, help="degrees from the front to the side views")
    parser.add_argument("--errors-only", action="store_true", help="leave the second and the third table out")
    options = parser.parse_args()
    head = HeadModel.load(options.head) if options.head else stranger(anny_head(), 1)
    for size in options.image_sizes:
        print(f"\nEnd-point error in pixels at {size} x {size}\n")
        print(error_table(head, size).to_markdown(index=False, floatfmt=".3f"))
    if options.errors_only:
        return
    print(f"\nGradient of equation 6 at {options.yaw:.0f} degrees\n")
    print(gradient_table(head, options.people, options.yaw).to_markdown(index=False, floatfmt=".3f"))
    print("\nError of correspondences in pixels\n")
    print(correspondence_table(head, options.people, _YAWS).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
