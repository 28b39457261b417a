"""Stage ablation@VARIANT-SEED: a network for Table 3, its loss without one of its terms."""

from mfnet.config import load_params
from mfnet.loss_terms import left_out
from pipeline.outputs import main
from pipeline.training_run import run_training


def stage(variant: str, seed: str) -> None:
    """Write models/ablation/VARIANT-SEED/ and reports/curves/ablation/VARIANT-SEED/."""
    params = load_params()
    loss = params.ablation.loss.without(left_out(variant))
    run_training("ablation", f"ablation/{variant}-{seed}", params, int(seed), loss)


if __name__ == "__main__":
    main(stage)
