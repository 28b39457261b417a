"""FLAME's own files, imitated, from params.yaml through training and scoring, at the smallest size."""

from pathlib import Path

import pytest
from scratch_clone import Clone, ran

from mfnet.evaluation.statistics.summary import load_scores, summarise
from mfnet.head import HeadModel

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


def test_flames_own_files_go_through_every_stage_that_reads_a_head(
    clone: Clone, flame_files: dict[str, Path], head: HeadModel
) -> None:
    names = {"path": "model", "landmarks": "landmarks", "texture": "texture", "masks": "masks"}
    clone.change({"head": {key: str(flame_files[name]) for key, name in names.items()}})
    done = clone.run("dvc", "repro", "evaluate", "baselines@landmark_fit")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert set(ran(done)) == {"flow", "train", "evaluate", "baselines@landmark_fit"}
    assert (HeadModel.load(clone.folder / "models/mfnet/head.npz").faces == head.faces).all()
    for method in ("mfnet", "landmark_fit"):
        metrics = summarise(load_scores(clone.folder / f"reports/per_image/{method}.csv"))
        assert metrics["lab"]["three_view"]["done_rate"] == 1
        assert 0 < metrics["lab"]["three_view"]["cd_mm"] < 15
