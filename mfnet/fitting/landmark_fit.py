"""Heads fitted to the 68 landmarks: the mean head by its pose alone, or all parameters over several views."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from mfnet.config import FitParams
from mfnet.data.landmarks import LANDMARK_SPREAD
from mfnet.head import Directions, Flame, HeadModel
from mfnet.head.flame import contour_row
from mfnet.method.network import TYPICAL_SCALE, Decoded, Parameters, decode, mean_parameters
from mfnet.parallel import parallel_map
from mfnet.render.camera import Lens

# One person's parameters, a batch of one in double precision, to standard normal residuals [R].
Residuals = Callable[[Parameters], Tensor]
_FREE = ("shape", "expression", "jaw", "rotation", "camera")
_JAW_SPREAD = 0.2
# A fit ends where a step lessens the sum of squares by less than this share.
_ENOUGH = 1e-3


class RigidPose(NamedTuple):
    """A head in front of a scaled orthographic camera: axis-angle [3], scale per metre, shift [2] of its centre, y
    up."""

    axis_angle: np.ndarray
    scale: float
    shift: np.ndarray


class MeanHeadFit:
    """The template without any shape: rotation, scale and position from 68 landmarks, by least squares."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        points = head.template[head.faces].astype(np.float64)
        static = (points[head.static_landmark_faces] * head.static_landmark_barycentric[..., None]).sum(1)
        contour = (points[head.contour_landmark_faces] * head.contour_landmark_barycentric[..., None]).sum(2)
        self._centre = static.mean(0)
        self._landmarks = np.concatenate([contour, np.repeat(static[None], len(contour), 0)], 1) - self._centre

    def fit(self, landmarks: np.ndarray) -> np.ndarray:
        """The template in front of a scaled orthographic camera.

        Args:
            landmarks: [68, 2] in a crop's [-1, 1], x right, y down.

        Returns:
            [V, 3] x right, y down, z away from the camera, in the crop's unit.
        """
        return self.placed(landmarks)[0]

    def placed(self, landmarks: np.ndarray) -> tuple[np.ndarray, float]:
        """What `fit` gives, z 0 at the mean of the landmarks that never move, and its scale in [-1, 1] per metre."""
        pose = self.pose(landmarks)
        turned = (self.head.template - self._centre) @ _rotation(pose.axis_angle).T
        return (turned * pose.scale + [*pose.shift, 0]) * [1, -1, -1], pose.scale

    def pose(self, landmarks: np.ndarray) -> RigidPose:
        """Rotation, scale and position of the mean head that bring its landmarks nearest to [68, 2] in [-1, 1]."""
        target = landmarks * [1, -1]
        best = min((self._solve(target, yaw) for yaw in (-0.9, 0.0, 0.9)), key=lambda solution: solution.cost)
        return RigidPose(best.x[:3], float(np.exp(best.x[3])), best.x[4:])

    def _solve(self, target: np.ndarray, yaw: float):  # type: ignore[no-untyped-def]
        spread = np.log(np.ptp(target, axis=0).mean() / np.ptp(self._landmarks[0], axis=0)[:2].mean())

        def residual(values: np.ndarray, row: int) -> np.ndarray:
            turned = self._landmarks[row] @ _rotation(values[:3]).T
            return (turned[:, :2] * np.exp(values[3]) + values[4:] - target).ravel()

        values = np.array([0.0, yaw, 0.0, spread, *target.mean(0)])
        # The contour's points depend on the yaw and the yaw on the points: a few rounds settle it.
        for _ in range(3):
            solution = least_squares(residual, values, method="lm", args=(self._row(values[:3]),))
            values = solution.x
        return solution

    @staticmethod
    def _row(axis_angle: np.ndarray) -> int:
        return int(contour_row(torch.tensor(_rotation(axis_angle))[None])[0])


def _rotation(axis_angle: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(axis_angle).as_matrix()


class LandmarkFit:
    """MFNet's parameters by optimisation against the 68 landmarks of every view; needs no training.

    Maximum a posteriori: Gaussian noise on the landmarks, standard normal shape and expression, a jaw that seldom
    opens by more than 0.2 rad. It begins at the mean head's pose in each view.
    """

    def __init__(self, head: HeadModel, directions: Directions, fit: FitParams, workers: int | None = 1) -> None:
        """Fit a head model.

        Args:
            head: the head model.
            directions: how many of the head's.
            fit: the noise and the iterations.
            workers: processes, each for a person; None is one per core.
        """
        self._flame = Flame(head, directions.n_shape, directions.n_expression, landmarks_only=True).double()
        self._rigid, self._directions, self._fit, self._workers = MeanHeadFit(head), directions, fit, workers

    def __call__(self, landmarks: Tensor, lens: Lens | None = None, each: bool = False) -> Parameters:
        """Fit B people, each in N views.

        Args:
            landmarks: [B, N, 68, 2] in the crops' [-1, 1].
            lens: of the unrolled views, where the focal lengths are known.
            each: with an expression and a jaw of its own for each view, of photographs that are not of one instant.
        """
        start = mean_parameters(landmarks.shape[0], landmarks.shape[1], self._directions)
        if each:
            own = {
                name: getattr(start, name)[:, None].repeat(1, landmarks.shape[1], 1) for name in ("expression", "jaw")
            }
            start = start._replace(**own)
        placed = self._placed(start, landmarks)
        return self.refine(Parameters(*(part.to(landmarks.device) for part in placed)), landmarks, lens)

    def _placed(self, start: Parameters, landmarks: Tensor) -> Parameters:
        """The start with every view's rotation and camera those of the mean head placed by the landmarks."""
        poses = [self._rigid.pose(view.numpy().astype(np.float64)) for view in landmarks.cpu().flatten(0, 1)]
        rotation = torch.tensor(np.stack([pose.axis_angle for pose in poses]), dtype=torch.float32)
        size = torch.tensor([[np.log(pose.scale / TYPICAL_SCALE)] for pose in poses], dtype=torch.float32)
        camera = torch.cat([size, landmarks.cpu().flatten(0, 1).mean(1)], 1)
        rotation, camera = rotation.view_as(start.rotation), camera.view_as(start.camera)
        return start._replace(rotation=rotation.to(start.rotation), camera=camera.to(start.camera))

    def nearest_start(self, start: Parameters, landmarks: Tensor, lens: Lens | None = None) -> Parameters:
        """The start, but in views where its landmarks are further off than the placed mean head's, that head's pose.

        Least squares does not turn a head round: from a profile to the wrong side it finds a monster instead.
        """
        placed = self._placed(start, landmarks)
        poses = ("rotation", "camera")

        def missed(parameters: Parameters) -> Tensor:
            exact = Parameters(*(part.detach().cpu().double() for part in parameters))
            own = None if lens is None else Lens(*(part.cpu().double() for part in lens))
            projected = decode(self._flame, exact, lens=own).landmarks[..., :2]
            return (projected - landmarks.cpu().double().flatten(0, 1)).square().sum((1, 2)).view(landmarks.shape[:2])

        further = (missed(start) > missed(placed))[..., None].to(start.rotation.device)
        return start._replace(
            **{name: torch.where(further, getattr(placed, name), getattr(start, name)) for name in poses}
        )

    def refine(self, start: Parameters, landmarks: Tensor, lens: Lens | None = None) -> Parameters:
        """Continue from given parameters; albedo and light stay as they are."""

        # Other processes are handed what these refer to: the decoder of the landmarks, not the whole head.
        flame, noise = self._flame, self._fit.noise

        def residuals(person: int) -> Residuals:
            points, pinholes = person_of(landmarks, lens, person)
            return lambda parameters: landmark_residuals(
                decode(flame, parameters, lens=pinholes), points, parameters, noise
            )

        return solve(start, residuals, self._fit.iterations, self._workers)


def person_of(landmarks: Tensor, lens: Lens | None, person: int) -> tuple[Tensor, Lens | None]:
    """One person's landmarks [1, N, 68, 2] and pinholes, in double precision on the CPU, where fits are solved."""
    n_views = landmarks.shape[1]
    views = slice(person * n_views, (person + 1) * n_views)
    own = None if lens is None else Lens(*(part[views].cpu().double() for part in lens))
    return landmarks[person : person + 1].cpu().double(), own


def landmark_residuals(decoded: Decoded, landmarks: Tensor, parameters: Parameters, noise: float) -> Tensor:
    """Standard normal residuals [R] of one person: landmarks, shape, expression and jaw.

    Args:
        decoded: the person's N heads.
        landmarks: [1, N, 68, 2] in the photographs.
        parameters: of the heads.
        noise: standard deviation of a landmark's coordinate, in [-1, 1]: the root mean square over the landmarks, which
            differ as `LANDMARK_SPREAD` says.
    """
    off = noise * torch.as_tensor(LANDMARK_SPREAD, dtype=landmarks.dtype, device=landmarks.device)[:, None]
    missed = (decoded.landmarks[..., :2] - landmarks.flatten(0, 1)) / off
    priors = (parameters.shape, parameters.expression, parameters.jaw / _JAW_SPREAD)
    return torch.cat([part.flatten() for part in (missed, *priors)])


def solve(
    start: Parameters, residuals: Callable[[int], Residuals], iterations: int, workers: int | None = 1
) -> Parameters:
    """Least squares over shape, expression, jaw, rotation and camera of each of B people.

    Levenberg-Marquardt as MINPACK has it, with exact derivatives.

    Args:
        start: of B people; albedo and light stay as they are.
        residuals: person -> function of that person's parameters, a batch of one, double, on the CPU.
        iterations: at most so many evaluations for each person.
        workers: processes; None is one per core. The result does not depend on it.
    """
    exact = Parameters(*(part.detach().cpu().double() for part in start))
    tasks = [
        (Parameters(*(part[person : person + 1] for part in exact)), residuals(person))
        for person in range(len(exact.shape))
    ]
    people = parallel_map(partial(_solve_one, iterations=iterations), tasks, None, workers)
    solution = {name: torch.cat([getattr(one, name) for one in people]).to(start.shape) for name in _FREE}
    return start._replace(**solution)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch works in one thread, as it does in other processes: in several it rounds otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _solve_one(task: tuple[Parameters, Residuals], iterations: int) -> Parameters:
    own, residuals = task
    parts = [getattr(own, name) for name in _FREE]
    sizes = [part.numel() for part in parts]

    def unflattened(values: Tensor) -> Parameters:
        pieces = zip(_FREE, values.split(sizes), parts, strict=True)
        return own._replace(**{name: piece.view_as(part) for name, piece, part in pieces})

    def missed(values: Tensor) -> Tensor:
        return residuals(unflattened(values))

    derivatives = torch.func.jacfwd(missed)
    with warnings.catch_warnings(), _one_thread():
        # Of torch's own making, at the first forward derivative.
        warnings.filterwarnings("ignore", ".*torch.jit.script.* is deprecated", FutureWarning)
        solution = least_squares(
            lambda values: missed(torch.from_numpy(values)).numpy(),
            torch.cat([part.flatten() for part in parts]).numpy(),
            jac=lambda values: derivatives(torch.from_numpy(values)).numpy(),
            method="lm",
            ftol=_ENOUGH,
            max_nfev=iterations,
        )
    return unflattened(torch.from_numpy(solution.x))
