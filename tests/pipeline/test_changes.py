"""What runs again after a change, and that it gives the same again, at the smallest size."""

import json

import pytest
from scratch_clone import Clone, ran

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


def test_changing_the_image_size_reruns_preprocess_and_not_what_comes_before(clone: Clone) -> None:
    before = (clone.folder / "params.yaml").read_text()
    clone.change({"data": {"image_size": 136}})
    done = clone.run("dvc", "repro", "flow")
    (clone.folder / "params.yaml").write_text(before)
    assert done.returncode == 0, done.stderr[-2000:]
    assert ran(done) == ["preprocess", "flow"]
    # What was made of the other faces is out of date; the rest would follow once that has changed.
    assert {"train", "ablation@no_eye-0", "report"} <= set(json.loads(clone.run("dvc", "status", "--json").stdout))


def test_other_photographs_are_noticed_and_the_same_seed_gives_the_first_ones_again(clone: Clone) -> None:
    """Photographs and scores to the byte, by two processes as by one; that training repeats itself too, the test of the
    losses shows."""
    first = clone.outputs()
    before = (clone.folder / "params.yaml").read_text()
    clone.change({"synthesize": {"relief_mm": 0.9}})
    done = clone.run("dvc", "repro", "index")
    (clone.folder / "params.yaml").write_text(before)
    assert done.returncode == 0, done.stderr[-2000:]
    assert ran(done) == ["synthesize", "index"]
    assert clone.outputs()["synthesize"] != first["synthesize"]
    clone.change({"engine": {"workers": 2}})
    done = clone.run("dvc", "repro", "--force", "--single-item", "synthesize", "evaluate")
    (clone.folder / "params.yaml").write_text(before)
    assert done.returncode == 0, done.stderr[-2000:]
    assert ran(done) == ["synthesize", "evaluate"]
    again = clone.outputs()
    assert again["synthesize"] == first["synthesize"]
    assert again["evaluate"] == first["evaluate"]
