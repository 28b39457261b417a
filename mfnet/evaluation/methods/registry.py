"""Every method that is judged, by name: for the command line, the stages, the tables and the benchmarks."""

from __future__ import annotations

from pathlib import Path

from mfnet.config import Params
from mfnet.errors import UserError
from mfnet.evaluation.methods.jobs import Method, Photographs
from mfnet.evaluation.methods.mean_head import MeanHeadMethod
from mfnet.evaluation.methods.oracle import OracleMethod
from mfnet.evaluation.methods.parametric import ParametricMethod
from mfnet.fitting.landmark_fit import MeanHeadFit
from mfnet.loss_terms import VARIANTS
from mfnet.reconstruct import Reconstructor
from mfnet.settings import crop_setting, directions, open_head

MFNET, REFINED = "mfnet", "refined"
MEAN_HEAD, LANDMARK_FIT, ORACLE_FIT = BASELINES = ("mean_head", "landmark_fit", "oracle_fit")
METHODS = (MFNET, REFINED, *BASELINES)
# They look at one photograph or at none, so that three views would give the same again.
ONE_VIEW = (MEAN_HEAD, ORACLE_FIT)
_LABELS = {MFNET: "MFNet"}


def label(name: str) -> str:
    """What tables and pictures call a method or a variant of the ablation; other people's are called as they are."""
    ours = name in METHODS or name in VARIANTS
    return _LABELS.get(name, name.replace("_", " ")) if ours else name


def build_method(name: str, params: Params, photographs: Photographs, model: Path | None = None) -> Method:
    """The method of a name.

    Args:
        name: of `METHODS`.
        params: the head, and how fits and submissions are to be.
        photographs: of the benchmark.
        model: folder of a trained model, or "packaged": what MFNet is, refined or not; the others need none.

    Raises:
        UserError: there is no such method, or it needs a model and has none.
    """
    submit, workers = params.evaluate.submit, params.engine.workers
    if name in (MFNET, REFINED):
        if model is None:
            raise UserError(f"evaluate: {name} needs a trained model; expected its folder")
        reconstructor = Reconstructor.open(model)
        if name == REFINED:
            reconstructor = reconstructor.refined(params.fit, workers)
        return ParametricMethod(reconstructor, photographs, submit, params.evaluate.batch)
    if name not in BASELINES:
        raise UserError(f"evaluate: there is no method '{name}'; expected one of {', '.join(METHODS)}")
    head = open_head(params.head)
    if name == MEAN_HEAD:
        return MeanHeadMethod(MeanHeadFit(head), photographs, params.data.crop_scale, submit)
    if name == ORACLE_FIT:
        return OracleMethod(head, directions(params.head), workers, submit)
    reconstructor = Reconstructor.fitting(head, crop_setting(params), params.fit, workers)
    return ParametricMethod(reconstructor, photographs, submit, params.evaluate.batch)
