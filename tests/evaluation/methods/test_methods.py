"""Methods over the generated benchmark."""

from pathlib import Path

from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import EXACT_SIDECAR, Sidecar
from mfnet.evaluation.benchmark import plan, run
from mfnet.evaluation.methods.jobs import NO_FACE, Photographs, Placed
from mfnet.evaluation.methods.oracle import OracleMethod
from mfnet.evaluation.methods.parametric import ParametricMethod
from mfnet.head import Directions, HeadModel
from mfnet.reconstruct import Reconstructor


def test_three_views_are_three(root: Path, head: HeadModel) -> None:
    """A side view without a face leaves no score from three views, and one from the single view that has one."""
    jobs = [job for job in plan(Benchmark(root), [0]) if job.setting != "wild" and job.item.focal == 0]  # type: ignore[union-attr]
    find = Sidecar(root)
    blind = str(jobs[0].images[1].relative_to(root))
    photographs = Photographs(root, lambda path, image: None if path == blind else find(path, image))
    three, one = ParametricMethod(Reconstructor.fitting(head), photographs)(jobs)
    assert [job.setting for job in jobs] == ["three_view", "single_view"]
    assert three == NO_FACE
    assert isinstance(one, Placed)


def test_the_oracle_fit_lies_on_the_scans_in_every_view(root: Path, head: HeadModel) -> None:
    """Two fits of a head model with fewer directions than the people were made with, and a relief it cannot have."""
    jobs = plan(Benchmark(root), [0, 9], three_view=False)
    jobs = [jobs[1], *(job for job in jobs if job.setting == "single_view" and job.item.focal == 0)]  # type: ignore[union-attr]
    assert len(jobs) == 3
    per_image = run(OracleMethod(head, Directions(), 2), jobs, 1)
    per_image = per_image[per_image["setting"].isin(["wild", "single_view_own_size"])]
    assert len(per_image) == 3
    assert (per_image["cd_mm"] < 1.3).all()
    assert (per_image["completeness"] > 0.99).all()


def test_known_focal_lengths_take_a_landmark_fit_nearer(root: Path, head: HeadModel) -> None:
    """At the shortest focal length, from three views: the fit comes as near as the head model can."""
    # Exact landmarks, so that nothing but the camera makes the difference.
    photographs = Photographs(root, Sidecar(root, EXACT_SIDECAR))
    jobs = [job for job in plan(Benchmark(root), [0, 1]) if job.setting == "three_view" and job.item.focal == 2]  # type: ignore[union-attr]
    flat = [job._replace(intrinsics=()) for job in jobs]
    method = ParametricMethod(Reconstructor.fitting(head), photographs)
    tables = [run(method, some, 1) for some in (jobs, flat)]
    settings = ("three_view_own_size", "three_view")
    deep_error, flat_error = (
        table["cd_mm"][table["setting"] == setting].to_numpy() for table, setting in zip(tables, settings, strict=True)
    )
    assert (deep_error < 2).all()
    assert (deep_error < 0.5 * flat_error).all()
