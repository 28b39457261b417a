"""Stages evaluate, refined and baselines@METHOD: a method over FaceScape, in the wild set and the lab."""

from pathlib import Path

from mfnet.config import load_params
from mfnet.evaluation.methods.registry import BASELINES, MFNET, REFINED
from pipeline.outputs import main
from pipeline.scoring_run import EVALUATE, run_scoring


def stage(method: str) -> None:
    """Write reports/per_image/METHOD.csv and reports/heat/METHOD/.

    Args:
        method: mfnet, refined, mean_head, landmark_fit or oracle_fit.
    """
    params = load_params()
    model = None if method in BASELINES else Path("models/mfnet")
    stage_name = EVALUATE if method == MFNET else REFINED if method == REFINED else "baselines"
    run_scoring(stage_name, method, params, method, model, params.evaluate.lab_views)


if __name__ == "__main__":
    main(stage)
