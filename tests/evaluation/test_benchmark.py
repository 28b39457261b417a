"""The generated benchmark, the baselines and the way from a reconstruction to a score."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from mfnet.data.facescape import BINS, Benchmark, read_obj
from mfnet.data.landmarks import Sidecar
from mfnet.errors import UserError
from mfnet.evaluation import benchmark
from mfnet.evaluation.benchmark import Unfinished, plan, run, triple_views
from mfnet.evaluation.heat import heat_jobs, heat_mesh, read_heat_mesh, write_heat_mesh
from mfnet.evaluation.methods.jobs import NO_FACE, Given, Job, Photographs, Placed, Submission
from mfnet.evaluation.methods.mean_head import MeanHeadMethod
from mfnet.evaluation.methods.oracle import OracleMethod, canonical_scan
from mfnet.evaluation.methods.parametric import ParametricMethod
from mfnet.evaluation.protocol.scores import Mesh, score_lab, score_wild
from mfnet.evaluation.protocol.submission import (
    three_units_high,
)
from mfnet.evaluation.report.comparison import in_photograph
from mfnet.evaluation.statistics.summary import failures, require_scores, summarise
from mfnet.fitting.landmark_fit import MeanHeadFit
from mfnet.head import Directions, HeadModel
from mfnet.reconstruct import Reconstructor


def test_generated_tree_is_the_benchmarks(root: Path) -> None:
    data = Benchmark(root)
    assert [item.bin for item in data.wild()] == list(BINS)
    lab = data.lab()
    assert len(lab) == 33
    assert [item.index for item in lab] == list(range(33))
    assert (lab[14].focal, lab[14].view) == (1, 3)
    np.testing.assert_allclose(lab[0].rotation, np.diag([1.0, -1, -1]), atol=1e-12)
    assert [round(lab[view].angle) for view in (0, 1, 9)] == [0, 30, 60]
    assert [item.angle // 30 for item in data.wild()] == [0, 0, 1, 2]
    for item in data.wild()[:1] + lab[:1]:
        assert cv2.imread(str(item.image)).shape == (256, 256, 3)


def test_truth_scores_perfectly_against_itself_and_the_camera_files_fit(root: Path) -> None:
    data = Benchmark(root)
    wild, lab = data.wild()[2], data.lab()[12]
    truth = Mesh(*read_obj(wild.mesh))
    assert score_wild(truth, truth, wild.pupil_scale, wild.rotation, wild.head_center).cd_mm < 1e-4
    truth = Mesh(*read_obj(lab.mesh))
    seen = Mesh(truth.vertices @ lab.Rt[:, :3].T + lab.Rt[:, 3], truth.faces)
    score = score_lab(truth, seen, lab.K, lab.Rt, lab.rotation, lab.head_center)
    assert score.cd_mm < 1e-4
    assert score.completeness == 1


def test_landmarks_lie_on_the_scan(root: Path) -> None:
    """The side file's nose tip projects onto the scan's nearest point in the frontal lab image."""
    item = Benchmark(root).lab()[0]
    points = Sidecar(root)(str(item.image.relative_to(root)), np.zeros((1, 1, 3), np.uint8))
    assert points is not None
    vertices, _ = read_obj(item.mesh)
    camera = vertices @ item.Rt[:, :3].T + item.Rt[:, 3]
    pixels = camera @ item.K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    near = np.linalg.norm(pixels - points[30], axis=1) < 4
    assert near.any()
    assert camera[near, 2].min() == pytest.approx(camera[:, 2].min(), abs=0.05)


def test_mean_head_over_the_benchmark(root: Path, head: HeadModel, tmp_path: Path) -> None:
    jobs = [
        job
        for job in plan(Benchmark(root), [0, 1, 8], three_view=False)
        if job.setting == "wild" or job.item.index < 11
    ]
    method = MeanHeadMethod(MeanHeadFit(head), Photographs(root, Sidecar(root)), 1.25)
    per_image = run(method, jobs, 1)
    assert len(per_image) == 4 + 2 * 3
    assert per_image["cd_mm"].between(0.5, 12).all()
    assert (per_image["completeness"] > 0.9).all()
    summary = summarise(per_image)
    assert summary["wild"]["0-5"]["n"] == 1
    assert summary["lab"]["single_view"]["cd_mm"] == pytest.approx(
        per_image.loc[per_image["setting"] == "single_view", "cd_mm"].mean()
    )
    json.dumps(summary, allow_nan=False)

    heat = heat_mesh(jobs[0], method(jobs[:1])[0], method.faces)
    assert heat is not None
    write_heat_mesh(tmp_path / "a.ply", heat)
    again = read_heat_mesh(tmp_path / "a.ply")
    np.testing.assert_allclose(again.error, heat.error, rtol=1e-5)
    np.testing.assert_array_equal(again.mesh.faces, heat.mesh.faces)


def test_a_photograph_without_a_face_is_a_failed_item_and_not_the_end(root: Path, head: HeadModel) -> None:
    jobs = plan(Benchmark(root), [0], three_view=False)[:2]
    find = Sidecar(root)
    blind = str(jobs[1].images[0].relative_to(root))
    photographs = Photographs(root, lambda path, image: None if path == blind else find(path, image))
    method = MeanHeadMethod(MeanHeadFit(head), photographs, 1.25)
    per_image = run(method, jobs, 1)
    assert per_image["cd_mm"].notna().tolist() == [True, False]
    assert per_image["failure"].tolist() == ["", NO_FACE]
    assert heat_mesh(jobs[1], method(jobs)[1], head.faces) is None
    told = failures({"mean_head": per_image}).to_dict("records")
    assert told == [{"method": "mean_head", "setting": "wild", "items": "1 of 2", "why": NO_FACE}]


def test_an_item_without_a_normal_error_is_told_of_and_keeps_its_distance(root: Path) -> None:
    """The scan itself, moved along the axis: equal normals, some of whose cosines round to above one."""
    job = next(job for job in plan(Benchmark(root), [0], three_view=False) if job.setting == "wild")
    vertices, faces = read_obj(job.item.mesh)
    table = run(Given(faces, [job], [vertices - [0, 0, 2.0]]), [job], 1)
    assert table["cd_mm"][0] < 1e-3
    assert np.isnan(table["mne_rad"][0])
    assert failures({"itself": table})["why"].tolist() == ["no MNE: normals that are equal, or none"]
    assert summarise(table)["wild"]["0-5"]["done_rate"] == 1
    assert run(Given(faces, [job], [vertices - [0, 0, 2.0]]), [job], 1, strict=True)["failure"].tolist() == [""]


def test_whatever_is_wrong_with_one_item_is_its_own_failure(root: Path, head: HeadModel, tmp_path: Path) -> None:
    """A photograph and a scan that cannot be read, a prediction that is not finite, and one far from the scan."""
    jobs = [job for job in plan(Benchmark(root), [0], three_view=False) if job.setting == "wild"]
    (tmp_path / "scan.obj").write_text("v 0 zero 0\n")
    (tmp_path / "empty.obj").write_text("v 0 50 0\nv 1 50 0\nv 0 51 0\nf 1 2 3\n")
    lost = jobs[1]._replace(images=(root / "nowhere.png",))
    torn = jobs[2]._replace(item=replace(jobs[2].item, mesh=tmp_path / "scan.obj"))
    empty = jobs[3]._replace(item=replace(jobs[3].item, mesh=tmp_path / "empty.obj"))
    mean_head = MeanHeadMethod(MeanHeadFit(head), Photographs(root, Sidecar(root)), 1.25)
    per_image = run(mean_head, [jobs[0], lost, torn], 1)
    assert per_image["cd_mm"].notna().tolist() == [True, False, False]
    assert "nowhere.png is missing" in per_image["failure"][1]
    assert "not a readable OBJ" in per_image["failure"][2]
    three = next(job for job in plan(Benchmark(root), [0]) if job.setting == "three_view")
    three = three._replace(images=(*three.images[:2], root / "nowhere.png"))
    fit = ParametricMethod(Reconstructor.fitting(head), Photographs(root, Sidecar(root)))
    assert "nowhere.png is missing" in fit([three])[0]
    with pytest.raises(UserError, match="not one of 1 items could be scored"):
        require_scores(run(mean_head, [lost], 1))
    oracle = run(OracleMethod(head, Directions()), [torn, empty], 1)
    assert "not a readable OBJ" in oracle["failure"][0]
    assert "no surface around the head's axis" in oracle["failure"][1]
    submission = mean_head(jobs[:1])[0]
    assert isinstance(submission, Placed)
    placed = submission.vertices
    for wrong, why in ((placed * np.nan, "not finite"), (placed + [0, 100, 0], "share no surface")):
        row = run(Given(head.faces, jobs[:1], [wrong]), jobs[:1], 1).iloc[0]
        assert why in row["failure"]
        assert row[["cd_mm", "mne_rad", "completeness"]].isna().all()


def test_heads_with_a_size_of_their_own_are_scored_with_it_and_by_the_loaders_rule(root: Path, head: HeadModel) -> None:
    """The scan itself in front of its camera, which is half as high again as the rule's three pupil distances."""
    jobs = [job for job in plan(Benchmark(root), [0], three_view=False) if job.setting == "single_view"][:1]
    item = jobs[0].item
    vertices, faces = read_obj(item.mesh)
    submission = vertices @ item.Rt[:, :3].T + item.Rt[:, 3]  # type: ignore[union-attr]

    class Owning(Given):
        def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
            return [Placed(three_units_high(submission), submission)]

    table = run(Owning(faces, jobs, [submission]), jobs, 1).set_index("setting")
    assert table.index.tolist() == ["single_view", "single_view_own_size"]
    assert table["cd_mm"]["single_view_own_size"] < 1e-4
    by_rule = submission * (3 / np.ptp(submission[:, 1]))
    alone = run(Given(faces, jobs, [by_rule]), jobs, 1)["cd_mm"][0]
    assert table["cd_mm"]["single_view"] == alone > 0.01
    assert set(summarise(table.reset_index())["lab"]) == {"single_view", "single_view_own_size"}


def test_an_interrupted_run_goes_on_and_trusts_only_what_was_made_from_the_same(
    root: Path, head: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = plan(Benchmark(root), [0], three_view=False)[:4]
    method = MeanHeadMethod(MeanHeadFit(head), Photographs(root, Sidecar(root)), 1.25)
    expected = run(method, jobs, 1)
    unfinished, judged = Unfinished(tmp_path / "scores", "a"), []
    judge = benchmark._judge

    def interrupted(task: tuple, **settings: Any) -> dict[str, benchmark.Verdict]:
        judged.append(task[0].item.stem)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return judge(task, **settings)

    monkeypatch.setattr(benchmark, "_judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(method, jobs, 1, unfinished)
    with unfinished.path.open("a") as stream:
        stream.write('["a", "wild 0')
    placed: list[str] = []

    class Counting(MeanHeadMethod):
        def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
            placed.extend(job.item.stem for job in jobs)
            return super().__call__(jobs)

    counting = Counting(MeanHeadFit(head), Photographs(root, Sidecar(root)), 1.25)
    resumed = run(counting, jobs, 1, unfinished)
    assert judged == [job.item.stem for job in (*jobs[:3], *jobs[2:])]
    assert placed == [job.item.stem for job in jobs[2:]]
    pd.testing.assert_frame_equal(resumed, expected)
    pd.testing.assert_frame_equal(run(counting, jobs, 1, unfinished), expected)
    assert len(placed) == 2
    run(counting, jobs, 1, unfinished._replace(made_from="b"))
    assert placed[2:] == [job.item.stem for job in jobs]


def test_aligned_meshes_go_back_to_where_they_are_in_the_photograph(root: Path) -> None:
    data = Benchmark(root)
    wild, lab = data.wild()[3], data.lab()[31]
    vertices, _ = read_obj(wild.mesh)
    np.testing.assert_allclose(in_photograph(wild, canonical_scan(wild).vertices)[:, :2], vertices[:, :2] * [1, -1])
    vertices, _ = read_obj(lab.mesh)
    pixels = (vertices @ lab.Rt[:, :3].T + lab.Rt[:, 3]) @ lab.K.T
    expected = pixels[:, :2] / pixels[:, 2:] / 128 - 1
    np.testing.assert_allclose(in_photograph(lab, canonical_scan(lab).vertices)[:, :2], expected, atol=1e-9)


def test_the_same_items_are_shown_of_every_method_but_for_those_without_a_score(root: Path) -> None:
    jobs = plan(Benchmark(root), [0, 1, 2, 3], three_view=False)
    scores = pd.DataFrame([{"setting": job.setting, "stem": job.item.stem, "cd_mm": 1.0} for job in jobs])
    wild = [job.item.stem for job in jobs if job.setting == "wild"]
    assert [job.item.stem for job in heat_jobs(jobs, scores, "wild", 2)] == [wild[0], wild[3]]
    scores.loc[scores["stem"] == wild[0], "cd_mm"] = np.nan
    assert [job.item.stem for job in heat_jobs(jobs, scores, "wild", 2)] == [wild[1], wild[3]]
    assert heat_jobs(jobs, scores, "three_view", 2) == []


def test_every_lab_view_gets_three_different_inputs_with_itself_first() -> None:
    for view in range(11):
        triple = triple_views(view)
        assert triple[0] == view
        assert len(set(triple)) == 3
    assert set(triple_views(0)) == {0, 1, 8}
    assert set(triple_views(9)) == {9, 0, 8}
