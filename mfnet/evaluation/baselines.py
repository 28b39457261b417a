"""What MFNet is compared with, by name: the mean head, the landmark fit and the oracle fit. None needs a training."""

from __future__ import annotations

from mfnet.config import Params
from mfnet.evaluation.methods import MeanHeadMethod, Method, ParametricMethod, Photographs
from mfnet.evaluation.oracle import OracleMethod
from mfnet.head import load_head
from mfnet.landmark_fit import MeanHeadFit
from mfnet.reconstruct import Reconstructor

MEAN_HEAD, LANDMARK_FIT, ORACLE_FIT = BASELINES = ("mean_head", "landmark_fit", "oracle_fit")
# They look at one photograph or at none, so that three views would give the same again.
ONE_VIEW = (MEAN_HEAD, ORACLE_FIT)


def baseline(name: str, params: Params, photographs: Photographs) -> Method:
    """The baseline of a name.

    Args:
        name: of `BASELINES`.
        params: the head, and how the fit and the submission are to be.
        photographs: of the benchmark.
    """
    assert name in BASELINES
    if name == MEAN_HEAD:
        fit = MeanHeadFit(load_head(params.head))
        return MeanHeadMethod(fit, photographs, params.data.crop_scale, params.evaluate.submit)
    if name == ORACLE_FIT:
        return OracleMethod(params.head, params.engine.workers, params.evaluate.submit)
    return ParametricMethod(Reconstructor.fitting(load_head(params.head), params), photographs, params.evaluate)
