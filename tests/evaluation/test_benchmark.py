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
import torch

from mfnet.config import FitParams, HeadParams, load_params
from mfnet.data.facescape import BINS, PUPIL_DISTANCE_MM, Benchmark, read_obj, write_obj
from mfnet.data.landmarks import EXACT_SIDECAR, Sidecar
from mfnet.errors import UserError
from mfnet.evaluation import benchmark
from mfnet.evaluation.benchmark import (
    Unfinished,
    averaged,
    failures,
    heat_mesh,
    load_scores,
    plan,
    require_scores,
    run,
    shown_jobs,
    summarise,
    triple_views,
)
from mfnet.evaluation.comparison import in_photograph
from mfnet.evaluation.facescape import Mesh, score_lab, score_wild
from mfnet.evaluation.heat import read_heat_mesh, write_heat_mesh
from mfnet.evaluation.methods import (
    NO_FACE,
    Given,
    Job,
    MeanHeadMethod,
    ParametricMethod,
    Photographs,
    Submission,
)
from mfnet.evaluation.oracle import OracleMethod, canonical_scan
from mfnet.evaluation.submission import Part, image_cube, lab_mesh, perspective_mesh, three_units_high, wild_mesh
from mfnet.head import Flame, HeadModel
from mfnet.landmark_fit import LandmarkFit, MeanHeadFit
from mfnet.network import decode, mean_parameters
from mfnet.reconstruct import Reconstructor
from mfnet.render.camera import Crop


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


def test_mean_head_fit_finds_a_known_pose(head: HeadModel) -> None:
    fit = MeanHeadFit(head)
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    expected = (head.template @ turn.T * 9 + [0.1, -0.2, 0]) * [1, -1, -1]
    landmarks = (fit._landmarks[25] + fit._centre) @ turn.T * 9 + [0.1, -0.2, 0]
    found = fit.fit(landmarks[:, :2] * [1, -1])
    np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=2e-3)
    shift = (found - expected)[:, 2]
    assert np.ptp(shift) < 5e-3


def test_landmark_fit_recovers_people_from_three_views(head: HeadModel) -> None:
    """Landmarks of known heads in known poses: the fit projects onto them and comes nearer than the mean head."""
    params = HeadParams(path=Path("head.npz"))
    flame = Flame(head)
    start = mean_parameters(2, 3, params)
    yaw = torch.tensor([0.0, -0.6, 0.6]).expand(2, 3)
    truth = start._replace(
        shape=torch.randn(2, 100).clamp(-2, 2), expression=0.5 * torch.randn(2, 50),
        jaw=torch.tensor([[0.1, 0, 0]] * 2),
        rotation=torch.stack([0.1 * torch.randn(2, 3), yaw, 0.05 * torch.randn(2, 3)], -1),
        camera=0.05 * torch.randn(2, 3, 3),
    )  # fmt: skip
    landmarks = decode(flame, truth).landmarks[..., :2].view(2, 3, 68, 2)
    found = LandmarkFit(head, params, FitParams())(landmarks)
    projected = decode(flame, found).landmarks[..., :2].view(2, 3, 68, 2)
    assert (projected - landmarks).norm(dim=-1).mean() < 0.012

    def vertices(shape: torch.Tensor) -> torch.Tensor:
        return flame(shape, torch.zeros(2, 50), torch.zeros(2, 15)).vertices[:, head.regions["face"]]

    error = (vertices(found.shape) - vertices(truth.shape)).norm(dim=-1).mean()
    of_the_mean = (vertices(start.shape) - vertices(truth.shape)).norm(dim=-1).mean()
    assert error < 0.8 * of_the_mean
    assert (found.rotation - truth.rotation).abs().mean() < 0.05


def test_mean_head_over_the_benchmark(root: Path, head: HeadModel, tmp_path: Path) -> None:
    jobs = [
        job
        for job in plan(Benchmark(root), [0, 1, 8], three_view=False)
        if job.setting == "wild" or job.item.index < 11
    ]
    method = MeanHeadMethod(MeanHeadFit(head), Photographs(root, Sidecar(root)), 1.25)
    per_image = run(method, jobs, 1)
    assert len(per_image) == 4 + 3
    assert per_image["cd_mm"].between(0.5, 12).all()
    assert (per_image["completeness"] > 0.9).all()
    summary = summarise(per_image)
    assert summary["wild"]["0-5"]["n"] == 1
    assert summary["lab"]["single_view"]["cd_mm"] == pytest.approx(per_image["cd_mm"][4:].mean())
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


def test_three_views_are_three(root: Path, head: HeadModel) -> None:
    """A side view without a face leaves no score from three views, and one from the single view that has one."""
    jobs = [job for job in plan(Benchmark(root), [0]) if job.setting != "wild" and job.item.focal == 0]  # type: ignore[union-attr]
    find = Sidecar(root)
    blind = str(jobs[0].images[1].relative_to(root))
    photographs = Photographs(root, lambda path, image: None if path == blind else find(path, image))
    params = load_params("params.yaml").model_copy(update={"head": HeadParams(path=root.parent / "head.npz")})
    three, one = ParametricMethod(Reconstructor.fitting(head, params), photographs, params.evaluate)(jobs)
    assert [job.setting for job in jobs] == ["three_view", "single_view"]
    assert three == NO_FACE
    assert isinstance(one, np.ndarray)


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
    params = load_params("params.yaml").model_copy(update={"head": HeadParams(path=root.parent / "head.npz")})
    fit = ParametricMethod(Reconstructor.fitting(head, params), Photographs(root, Sidecar(root)), params.evaluate)
    assert "nowhere.png is missing" in fit([three])[0]
    with pytest.raises(UserError, match="not one of 1 items could be scored"):
        require_scores(run(mean_head, [lost], 1))
    oracle = run(OracleMethod(HeadParams(path=root.parent / "head.npz"), 1), [torn, empty], 1)
    assert "not a readable OBJ" in oracle["failure"][0]
    assert "no surface around the head's axis" in oracle["failure"][1]
    placed = mean_head(jobs[:1])[0]
    assert isinstance(placed, np.ndarray)
    for wrong, why in ((placed * np.nan, "not finite"), (placed + [0, 100, 0], "share no surface")):
        row = run(Given(head.faces, jobs[:1], [wrong]), jobs[:1], 1).iloc[0]
        assert why in row["failure"]
        assert row[["cd_mm", "mne_rad", "completeness"]].isna().all()


def test_heads_with_a_size_of_their_own_are_scored_with_it_and_by_the_loaders_rule(root: Path, head: HeadModel) -> None:
    """The scan itself before its camera, which is half as high again as the rule's three pupil distances."""
    jobs = [job for job in plan(Benchmark(root), [0], three_view=False) if job.setting == "single_view"][:1]
    item = jobs[0].item
    vertices, faces = read_obj(item.mesh)
    submission = vertices @ item.Rt[:, :3].T + item.Rt[:, 3]  # type: ignore[union-attr]

    class Owning(Given):
        own_size = True

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


def test_the_oracle_fit_lies_on_the_scans_in_every_view(root: Path) -> None:
    """Two fits of a head model with fewer directions than the people were made with, and a relief it cannot have."""
    params = HeadParams(path=root.parent / "head.npz")
    jobs = plan(Benchmark(root), [0, 9], three_view=False)
    jobs = [jobs[1], *(job for job in jobs if job.setting == "single_view" and job.item.focal == 0)]  # type: ignore[union-attr]
    assert len(jobs) == 3
    per_image = run(OracleMethod(params, 2), jobs, 1)
    per_image = per_image[per_image["setting"].isin(["wild", "single_view_own_size"])]
    assert len(per_image) == 3
    assert (per_image["cd_mm"] < 1.3).all()
    assert (per_image["completeness"] > 0.99).all()


def test_failed_items_count_in_the_done_rate_and_not_in_the_mean() -> None:
    rows = [
        {"setting": "wild", "bin": "0-5", "cd_mm": value, "mne_rad": 0.1, "completeness": 1.0}
        for value in (2.0, np.nan)
    ]
    means = summarise(pd.DataFrame(rows))["wild"]["0-5"]
    assert (means["cd_mm"], means["n"], means["done_rate"]) == (2.0, 2, 0.5)
    assert summarise(pd.DataFrame(rows))["wild"]["all"] == means
    assert summarise(pd.DataFrame(rows))["wild"]["60-90"]["cd_mm"] is None


def test_the_lab_is_summed_up_by_focal_length_and_by_the_angle_at_the_longest() -> None:
    same = {"setting": "single_view", "bin": None, "mne_rad": 0.1, "completeness": 1.0}
    rows = [
        {**same, "focal": focal, "view": view, "cd_mm": 100.0 * k + view}
        for k, focal in enumerate((1200, 600, 300))
        for view in range(11)
    ]
    found = summarise(pd.DataFrame(rows))["lab"]["single_view"]
    assert {name: means["cd_mm"] for name, means in found["by_focal"].items()} == {"1200": 5, "600": 105, "300": 205}
    assert {name: means["cd_mm"] for name, means in found["by_angle"].items()} == {"0": 0, "30": 4.5, "60": 9.5}
    assert [means["n"] for means in found["by_angle"].values()] == [1, 8, 2]


def test_the_same_items_are_shown_of_every_method_but_for_those_without_a_score(root: Path) -> None:
    jobs = plan(Benchmark(root), [0, 1, 2, 3], three_view=False)
    scores = pd.DataFrame([{"setting": job.setting, "stem": job.item.stem, "cd_mm": 1.0} for job in jobs])
    wild = [job.item.stem for job in jobs if job.setting == "wild"]
    assert [job.item.stem for job in shown_jobs(jobs, scores, "wild", 2)] == [wild[0], wild[3]]
    scores.loc[scores["stem"] == wild[0], "cd_mm"] = np.nan
    assert [job.item.stem for job in shown_jobs(jobs, scores, "wild", 2)] == [wild[1], wild[3]]
    assert shown_jobs(jobs, scores, "three_view", 2) == []


def test_every_lab_view_gets_three_different_inputs_with_itself_first() -> None:
    for view in range(11):
        triple = triple_views(view)
        assert triple[0] == view
        assert len(set(triple)) == 3
    assert set(triple_views(0)) == {0, 1, 8}
    assert set(triple_views(9)) == {9, 0, 8}


def test_submission_frames() -> None:
    projected = np.array([[0.0, 0, 0.5], [1, -1, -0.5]])
    cube = image_cube(projected, Crop(128.0, 64.0, 128.0))
    np.testing.assert_allclose(cube, [[0, 0.5, -0.25], [0.5, 1.0, 0.25]])
    assert wild_mesh(cube)[:, 2].mean() == pytest.approx(-2)
    lab = lab_mesh(cube, 1)
    assert np.ptp(lab[:, 1]) == pytest.approx(3)
    assert (lab[:, 2] > 0).all()
    assert lab[0, 1] / lab[0, 2] < 0


def test_a_prediction_before_a_pinhole_stays_where_it_is_or_is_scaled_about_the_camera() -> None:
    metres = np.array([[0.0, -0.15, 0.5], [0.05, 0.15, 0.6]])
    own = perspective_mesh(metres)
    np.testing.assert_allclose(own * PUPIL_DISTANCE_MM, metres * 1000)
    by_rule = three_units_high(own)
    assert np.ptp(by_rule[:, 1]) == pytest.approx(3)
    np.testing.assert_allclose(by_rule[:, :2] / by_rule[:, 2:], own[:, :2] / own[:, 2:])


def test_known_focal_lengths_take_a_landmark_fit_nearer(root: Path, head: HeadModel) -> None:
    """At the shortest focal length, from three views: the fit before pinholes comes as near as the head model can."""
    params = load_params("params.yaml").model_copy(update={"head": HeadParams(path=root.parent / "head.npz")})
    # Exact landmarks, so that nothing but the camera makes the difference.
    photographs = Photographs(root, Sidecar(root, EXACT_SIDECAR))
    jobs = [job for job in plan(Benchmark(root), [0, 1]) if job.setting == "three_view" and job.item.focal == 2]  # type: ignore[union-attr]
    flat = [job._replace(intrinsics=()) for job in jobs]
    method = ParametricMethod(Reconstructor.fitting(head, params), photographs, params.evaluate)
    tables = [run(method, some, 1) for some in (jobs, flat)]
    settings = ("three_view_own_size", "three_view")
    deep_error, flat_error = (
        table["cd_mm"][table["setting"] == setting].to_numpy() for table, setting in zip(tables, settings, strict=True)
    )
    assert (deep_error < 2).all()
    assert (deep_error < 0.5 * flat_error).all()


@pytest.mark.parametrize("name", ["head", "face"])
def test_a_part_is_the_same_surface(head: HeadModel, name: str) -> None:
    part = Part.of(head, name)
    triangles = head.template[part.vertices][part.faces]
    known = {triangle.tobytes() for triangle in head.template[head.faces]}
    assert {triangle.tobytes() for triangle in triangles} <= known
    assert (len(part.faces) == len(head.faces)) == (name == "head")
    if name == "face":
        height = np.ptp(head.template[part.vertices, 1])
        assert height == pytest.approx(3 * PUPIL_DISTANCE_MM / 1000, rel=0.1)


def test_obj_keeps_order_and_splits_polygons(tmp_path: Path) -> None:
    vertices, faces = np.random.default_rng(0).normal(size=(5, 3)), np.array([[4, 2, 0], [1, 2, 3]])
    write_obj(tmp_path / "a.obj", vertices, faces)
    found = read_obj(tmp_path / "a.obj")
    np.testing.assert_allclose(found[0], vertices, atol=1e-6)
    np.testing.assert_array_equal(found[1], faces)
    (tmp_path / "b.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1/1 2/2/2 3//3 4\n")
    np.testing.assert_array_equal(read_obj(tmp_path / "b.obj")[1], [[0, 1, 2], [0, 2, 3]])
    (tmp_path / "c.obj").write_text("v 0 zero 0\n")
    with pytest.raises(UserError, match="not a readable OBJ"):
        read_obj(tmp_path / "c.obj")


def test_missing_constants_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no folder data/"):
        Benchmark(tmp_path)
    for folder in ("wild_gt_mesh", "lab_gt_mesh"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    with pytest.raises(UserError, match="no meshes in"):
        Benchmark(tmp_path)
    for folder in ("wild_gt_mesh", "lab_gt_mesh"):
        (tmp_path / "data" / folder / "000.obj").touch()
    with pytest.raises(UserError, match=r"wild_rotations\.npy is missing"):
        Benchmark(tmp_path)


def scored(cd: list[float], stems: Sequence[str] = "ab") -> pd.DataFrame:
    metrics = {"cd_mm": cd, "mne_rad": 0.1, "completeness": 1.0}
    metrics["failure"] = ["no face" if np.isnan(value) else "" for value in cd]
    return pd.DataFrame({"setting": "wild", "stem": list(stems), "bin": "0-5", **metrics})


def test_a_methods_trainings_are_averaged_item_by_item_and_one_failure_is_the_items(tmp_path: Path) -> None:
    for name, cd in {"full": [1.0, 2.0], "full-7": [2.0, np.nan], "mean_head": [3.0, 3.0]}.items():
        scored(cd).to_csv(tmp_path / f"{name}.csv", index=False)
    found = load_scores(tmp_path, {"full": ["full", "full-7"], "mean_head": ["mean_head"], "refined": ["refined"]})
    assert {name: len(tables) for name, tables in found.items()} == {"full": 2, "mean_head": 1}
    both = averaged(found["full"])
    np.testing.assert_array_equal(both["cd_mm"], [1.5, np.nan])
    assert both["failure"].tolist() == ["", "no face"]
    assert summarise(both)["wild"]["0-5"] == {
        "cd_mm": 1.5, "mne_rad": 0.1, "completeness": 1.0, "n": 2, "done_rate": 0.5}  # fmt: skip


def test_names_of_digits_are_read_as_names_by_whoever_has_only_these(tmp_path: Path) -> None:
    scored([1.0, 2.0], ["000", "001"]).to_csv(tmp_path / "no_eye.csv", index=False)
    scored([1.0, 2.0, 3.0], ["000", "001", "00_0_00"]).to_csv(tmp_path / "full.csv", index=False)
    read = load_scores(tmp_path, {"full": ["full"], "no_eye": ["no_eye"]})
    assert read["no_eye"][0]["stem"].tolist() == ["000", "001"]
    both = read["no_eye"][0].merge(read["full"][0], on="stem")
    assert len(both) == 2


def test_scores_that_are_missing_or_of_other_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scores in"):
        load_scores(tmp_path, {"full": ["full"]})
    scored([1.0, 2.0]).to_csv(tmp_path / "full.csv", index=False)
    with pytest.raises(UserError, match=r"full-7\.csv is missing; run its evaluate stage"):
        load_scores(tmp_path, {"full": ["full", "full-7"]})
    with pytest.raises(UserError, match="scored on different items"):
        averaged([scored([1.0, 2.0]), scored([1.0, 2.0], "ac")])
