"""Stage train: MFNet, with the loss of params.yaml."""

from mfnet.config import load_params
from pipeline.outputs import main
from pipeline.training_run import run_training


def stage() -> None:
    """Write models/mfnet/ and reports/curves/mfnet/."""
    params = load_params()
    run_training("train", "mfnet", params, params.seed, params.loss)


if __name__ == "__main__":
    main(stage)
