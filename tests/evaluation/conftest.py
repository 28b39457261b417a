from pathlib import Path

import pytest

from mfnet.config import SynthesizeParams
from mfnet.head import HeadModel
from mfnet.synthesis.facescape_tree import synthesize_facescape


@pytest.fixture(scope="session")
def root(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated benchmark: four people in the wild, one in the lab; head.npz lies beside its folder."""
    folder = tmp_path_factory.mktemp("facescape")
    head.save(folder / "head.npz")
    made = SynthesizeParams(
        multipie_subjects=2, recordings=1, illuminations=[7], wild_per_bin=1, lab_subjects=1, relief_mm=0.5
    )
    synthesize_facescape(folder / "benchmark", folder / "head.npz", made, 0, 1)
    return folder / "benchmark"
