"""Stage evaluate_ablation@VARIANT-SEED: a network of Table 3 over FaceScape's wild set."""

from pathlib import Path

from mfnet.config import load_params
from mfnet.evaluation.methods.registry import MFNET
from pipeline.outputs import main
from pipeline.scoring_run import run_scoring


def stage(variant: str, seed: str) -> None:
    """Write reports/per_image/ablation/VARIANT-SEED.csv."""
    name = f"ablation/{variant}-{seed}"
    run_scoring("evaluate_ablation", name, load_params(), MFNET, Path("models") / name, [])


if __name__ == "__main__":
    main(stage)
