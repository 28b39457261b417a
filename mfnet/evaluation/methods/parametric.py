"""Methods that give a head's parameters: MFNet, refined or not, and the landmark fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mfnet.errors import UserError
from mfnet.evaluation.methods.jobs import NO_FACE, Job, Photographs, Placed, Submission
from mfnet.evaluation.protocol.submission import Part, image_cube, perspective_mesh, submitted, three_units_high
from mfnet.head import Flame
from mfnet.method.network import Parameters, decode, in_front_of
from mfnet.reconstruct import Reconstructor, Square
from mfnet.render.camera import Lens


class ParametricMethod:
    """A reconstructor over jobs, in batches of equally many views."""

    def __init__(
        self, reconstructor: Reconstructor, photographs: Photographs, submit: str = "head", batch: int = 8
    ) -> None:
        """Judge a reconstructor.

        Args:
            reconstructor: photographs to parameters.
            photographs: of the benchmark.
            submit: head, or face without neck, ears and the back of the head.
            batch: jobs that are predicted together.
        """
        self._part = Part.of(reconstructor.head, submit)
        self.faces = self._part.faces
        self._reconstructor, self._photographs, self._batch = reconstructor, photographs, batch

    def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
        """See Method; of three views every one has to show a face."""
        squares_by_job = [squares_of(self._reconstructor, self._photographs, job) for job in jobs]
        submissions: dict[int, Submission] = {k: why for k, why in enumerate(squares_by_job) if isinstance(why, str)}
        people = {k: squares for k, squares in enumerate(squares_by_job) if not isinstance(squares, str)}
        kinds = {k: (bool(jobs[k].intrinsics), len(squares)) for k, squares in people.items()}
        for kind in sorted(set(kinds.values())):
            group = [k for k in people if kinds[k] == kind]
            for start in range(0, len(group), self._batch):
                together = group[start : start + self._batch]
                placed = self._predict([jobs[k] for k in together], [people[k] for k in together])
                submissions |= dict(zip(together, placed, strict=True))
        return [submissions[k] for k in range(len(jobs))]

    @torch.no_grad()
    def _predict(self, jobs: list[Job], people: list[list[Square]]) -> list[Placed]:
        parameters, lens = self._reconstructor.predict(people)
        scored = torch.arange(len(people), device=parameters.shape.device) * parameters.rotation.shape[1]
        flame = self._reconstructor.flame
        if lens is not None:
            own = [perspective_mesh(one) for one in in_camera(flame, parameters, lens, scored)[:, self._part.vertices]]
            return [Placed(three_units_high(mesh), mesh) for mesh in own]
        projected = decode(flame, parameters, scored).projected[:, self._part.vertices].cpu().numpy()
        cubes = [image_cube(one, squares[0].crop) for one, squares in zip(projected, people, strict=True)]
        by_rule = [submitted(job.item, cube) for job, cube in zip(jobs, cubes, strict=True)]
        if not jobs[0].intrinsics:
            return [Placed(mesh) for mesh in by_rule]
        # A head of metres has a size. Its distance follows from the focal length, which the network has not seen.
        pinholes = Lens.joined(
            [squares[0].crop.lens(job.intrinsics[0]) for job, squares in zip(jobs, people, strict=True)]
        )
        pinholes = pinholes.to(parameters.shape.device)
        metres = in_camera(flame, in_front_of(_views(parameters, scored), pinholes), pinholes)
        own = [perspective_mesh(one) for one in metres[:, self._part.vertices]]
        return [Placed(*meshes) for meshes in zip(by_rule, own, strict=True)]


def _views(parameters: Parameters, views: torch.Tensor) -> Parameters:
    """Of B people in N views the views [B] of the unrolled ones, one of each person, as people in one view each."""
    own = ("rotation", "camera", "albedo", "light")
    return parameters._replace(**{name: getattr(parameters, name).flatten(0, 1)[views][:, None] for name in own})


@torch.no_grad()
def in_camera(flame: Flame, parameters: Parameters, lens: Lens, views: torch.Tensor | None = None) -> np.ndarray:
    """Vertices [M, V, 3] of heads in front of their pinholes: metres in the cameras' frames, OpenCV's axes.

    Args:
        flame: the decoder.
        parameters: of B people in N views.
        lens: of the unrolled views.
        views: [M] of them; None is all.
    """
    decoded = decode(flame, parameters, views, lens)
    pinholes = lens if views is None else lens.of(views)
    return pinholes.unproject(decoded.projected, decoded.camera[:, :1]).cpu().numpy()


def squares_of(reconstructor: Reconstructor, photographs: Photographs, job: Job) -> list[Square] | str:
    """Crops of a job's photographs, the scored one's first; or in one line why there are none."""
    try:
        inputs = [photographs(path) for path in job.images]
    except UserError as error:
        return str(error)
    pinholes = job.intrinsics if reconstructor.in_perspective and job.intrinsics else [None] * len(job.images)
    squares = [reconstructor.square(*one, K) for one, K in zip(inputs, pinholes, strict=True) if one is not None]
    return squares if len(squares) == len(inputs) else NO_FACE
