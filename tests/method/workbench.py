"""What small trainings are made of."""

from typing import NamedTuple

from mfnet.config import Params
from mfnet.data.batches import TripletData
from mfnet.flow import load_flow_estimator
from mfnet.head import Directions, HeadModel
from mfnet.loss_terms import left_out
from mfnet.method.training import Material, Setting


class Workbench(NamedTuple):
    """Parameters, splits and head of small trainings."""

    params: Params
    data: dict[str, TripletData]
    head: HeadModel

    def setting(self, variant: str = "full", **changes: object) -> Setting:
        """Of a variant of the loss, with some of the training's parameters changed."""
        params = self.params
        loss = params.loss.without(left_out(variant))
        train = params.train.model_copy(update=changes)
        return Setting(0, params.network, loss, train, Directions(), params.data.image_size)

    def material(self, digest: str = "") -> Material:
        return Material(
            self.data["train"], self.data["validation"], self.head, load_flow_estimator("classical"), digest
        )
