"""The mean head, placed by the landmarks: what knowing nothing of a person is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mfnet.data.crop import crop_around, normalised
from mfnet.data.facescape import LabItem
from mfnet.errors import UserError
from mfnet.evaluation.methods.jobs import NO_FACE, Job, Photographs, Placed, Submission
from mfnet.evaluation.protocol.submission import Part, image_cube, perspective_mesh, submitted
from mfnet.fitting.landmark_fit import MeanHeadFit


class MeanHeadMethod:
    """The mean head over jobs; sees only the scored photograph's landmarks."""

    def __init__(self, fit: MeanHeadFit, photographs: Photographs, crop_scale: float, submit: str = "head") -> None:
        self._part = Part.of(fit.head, submit)
        self.faces = self._part.faces
        self._fit, self._photographs, self._scale = fit, photographs, crop_scale

    def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
        """See Method."""
        return [self._place(job) for job in jobs]

    def _place(self, job: Job) -> Submission:
        try:
            photograph = self._photographs(job.images[0])
        except UserError as error:
            return str(error)
        if photograph is None:
            return NO_FACE
        crop = crop_around(photograph[1], self._scale)
        head, scale = self._fit.placed(normalised(photograph[1], crop))
        head = head[self._part.vertices]
        by_rule = submitted(job.item, image_cube(head, crop))
        if not isinstance(job.item, LabItem):
            return Placed(by_rule)
        # Weak perspective: as large as it is seen at the depth of the landmarks' mean, where z is 0.
        focal, principal = (part[0].double().numpy() for part in crop.lens(job.item.K))
        metres = np.column_stack([head[:, :2] - principal, head[:, 2] + focal]) / scale
        return Placed(by_rule, perspective_mesh(metres))
