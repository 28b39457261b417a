import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from mfnet.data.facescape import PUPIL_DISTANCE_MM
from mfnet.evaluation.protocol.closest import distances_to_grid
from mfnet.evaluation.protocol.maps import N, cylinder_map, orthographic_depth, pinhole_depth
from mfnet.evaluation.protocol.scores import (
    Canonical,
    Mesh,
    chamfer_distance,
    score_canonical,
    score_lab,
    score_wild,
    surface_grid,
    used_vertices,
)  # fmt: skip

ANGLE = 2 * np.pi * np.arange(N) / (N - 1)
HEIGHT = 150 - 300 * np.arange(N) / (N - 1)


def tube(radius: float, half_height: float = 100.0, sectors: int = 720, front_only: bool = True) -> Mesh:
    """A cylinder around the head's axis, its normals outwards; by default only the front half."""
    start, stop = (-np.pi / 2, np.pi / 2) if front_only else (-np.pi, np.pi)
    azimuth = np.linspace(start, stop, sectors)
    ring = np.stack([radius * np.sin(azimuth), np.zeros(sectors), radius * np.cos(azimuth)], -1)
    bottom, top = ring - [0, half_height, 0], ring + [0, half_height, 0]
    k = np.arange(sectors - 1)
    n = sectors
    faces = np.concatenate([np.stack([k, k + 1, n + k + 1], 1), np.stack([k, n + k + 1, n + k], 1)])
    return Mesh(np.concatenate([bottom, top]), faces)


def test_tubes_of_different_radius_are_their_difference_apart() -> None:
    # Facets of another width: exactly equal normals would make the benchmark's MNE undefined.
    score = score_canonical(Canonical(tube(80), tube(83, sectors=701)))
    assert score.cd_mm == pytest.approx(3.0, abs=0.02)
    assert score.mne_rad == pytest.approx(0, abs=0.01)
    assert score.completeness == 1.0


def test_strict_normal_error_is_the_angle_and_knows_equal_normals() -> None:
    """A tube, and one that widens by 20 mm over its 200."""
    straight = tube(80)
    n = len(straight.vertices) // 2
    wider = straight.vertices.copy()
    wider[n:, [0, 2]] *= 1.25
    canonical = Canonical(straight, Mesh(wider, straight.faces))
    assert score_canonical(canonical, strict=True).mne_rad == pytest.approx(np.arctan(0.1), abs=1e-3)
    assert score_canonical(canonical).mne_rad != pytest.approx(np.arctan(0.1), abs=1e-2)
    same = Canonical(straight, Mesh(straight.vertices + [0, 0.1, 0], straight.faces))
    assert score_canonical(same, strict=True).mne_rad == pytest.approx(0, abs=1e-6)


def test_strict_lab_score_does_not_depend_on_the_predictions_size() -> None:
    """A face's front half a metre away, and itself scaled about the camera."""
    front = tube(80, 60)
    unit = PUPIL_DISTANCE_MM
    Rt = np.column_stack([np.diag([1.0, -1, -1]), [0, 0, 500 / unit]])
    K = np.array([[400.0, 0, 128], [0, 400, 128], [0, 0, 1]])
    given = {"K": K, "Rt": Rt, "rotation": np.diag([1.0, -1, -1]), "head_center": np.array([0, 0, 500.0])}
    world = Mesh(front.vertices / unit, front.faces)
    camera = world.vertices @ Rt[:, :3].T + Rt[:, 3]
    for size in (0.6, 1.0, 1.3):
        prediction = Mesh(camera * size, front.faces)
        assert score_lab(world, prediction, **given, strict=True).cd_mm < 0.02
    assert score_lab(world, Mesh(camera * 0.6, front.faces), **given).cd_mm > 1


def test_completeness_is_the_covered_share_of_the_truth() -> None:
    score = score_canonical(Canonical(tube(80, 100), tube(80, 50)))
    assert score.completeness == pytest.approx(0.5, abs=0.01)


def test_cylinder_map_keeps_the_farthest_of_two_layers_and_its_triangle() -> None:
    inner, outer = tube(60, front_only=False), tube(90, front_only=False)
    both = Mesh(
        np.concatenate([outer.vertices, inner.vertices]),
        np.concatenate([outer.faces, inner.faces + len(outer.vertices)]),
    )
    seen = cylinder_map(*both)
    rows = np.abs(HEIGHT) < 99
    np.testing.assert_allclose(seen.radius[rows], 90, atol=0.01)
    assert (seen.triangle[rows] < len(outer.faces)).all()
    np.testing.assert_array_equal(seen.radius[:, 0], seen.radius[:, -1])


def test_column_order_and_direction() -> None:
    """The face is in the middle, and increasing columns go towards -x first."""
    patch = Mesh(np.array([[-80.0, -20, -10], [-80, -20, 10], [-80, 20, 0]]), np.array([[0, 1, 2]]))
    columns = np.flatnonzero(cylinder_map(*patch).radius.any(0))
    assert columns.min() < 63.75 < columns.max()
    assert columns.max() < 70


def test_depth_images_at_pixel_centres() -> None:
    slope = Mesh(np.array([[-300.0, -300, 0], [300, -300, 0], [0, 600, 0]]), np.array([[0, 1, 2]]))
    slanted = slope.vertices.copy()
    slanted[:, 2] = -500 + 0.5 * slanted[:, 0]
    depth = orthographic_depth(slanted, slope.faces, 100.0)
    x = ((np.arange(N) + 0.5) / 128 - 1) * 100
    np.testing.assert_allclose(depth[128], 500 - 0.5 * x, atol=1e-9)
    assert (orthographic_depth(slanted, slope.faces[:, ::-1], 100.0) == 0).all()

    K = np.array([[600.0, 0, 128], [0, 600, 128], [0, 0, 1]])
    camera = slope.vertices * [1, -1, 1] + [0, 0, 700]
    camera[:, 2] += 0.3 * camera[:, 0]
    depth = pinhole_depth(camera, slope.faces, K)
    slope_x = (np.arange(N) + 0.5 - 128) / 600
    np.testing.assert_allclose(depth[128], 700 / (1 - 0.3 * slope_x), rtol=1e-9)


def brute_force(points: np.ndarray, queries: np.ndarray, surface: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Distance by dense sampling of every triangle, an upper bound within the sampling's step."""
    k = np.flatnonzero(valid)
    triangles = np.concatenate([surface[k[:, None] + [0, 1, N]], surface[k[:, None] + [N + 1, N, 1]]])
    steps = [(a / 12, b / 12) for a in range(13) for b in range(13 - a)]
    weights = np.array([[1 - a - b, a, b] for a, b in steps])
    samples = np.einsum("sk,tkc->tsc", weights, triangles).reshape(-1, 3)
    return np.array([np.linalg.norm(samples - points[q], axis=1).min() for q in queries])


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6))
def test_quadtree_finds_the_closest_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, column = rng.integers(5, 200, 2)
    maps = np.zeros((2, N, N))
    maps[:, row : row + 12, column : column + 14] = 80 + rng.normal(size=(2, 12, 14)) * 3
    (points, used), (surface, valid) = surface_grid(maps[0]), surface_grid(maps[1])  # type: ignore[misc]
    queries = rng.choice(used_vertices(used), 20)
    found = distances_to_grid(points, queries, surface, valid)
    sampled = brute_force(points, queries, surface, valid)
    assert (found <= sampled + 1e-9).all()
    assert (sampled - found).max() < 0.5


def test_chamfer_is_symmetric_and_zero_on_itself(rng: np.random.Generator) -> None:
    maps = np.zeros((2, N, N))
    maps[:, 60:180, 80:180] = 90 + rng.normal(size=(2, 120, 100))
    assert chamfer_distance(maps[0], maps[1]) == pytest.approx(chamfer_distance(maps[1], maps[0]))
    assert chamfer_distance(maps[0], maps[0]) == pytest.approx(0, abs=1e-12)


def test_step_of_fifteen_millimetres_cuts_the_surface() -> None:
    radius = np.zeros((N, N))
    radius[50:100, 50:100] = 80
    radius[50:100, 75:100] = 96
    _, valid = surface_grid(radius)  # type: ignore[misc]
    assert not valid[60, 74]
    assert valid[60, 73]
    assert valid[60, 75]


def test_surface_that_leaves_the_map_has_no_distance() -> None:
    whole = np.full((N, N), 80.0)
    assert surface_grid(whole) is None
    assert np.isnan(chamfer_distance(whole, whole))


def to_wild(mesh: Mesh, scale: float) -> Mesh:
    return Mesh(mesh.vertices / scale + [0, 0, -10], mesh.faces)


def test_wild_score_aligns_depth_and_nothing_else() -> None:
    scale, center = 120.0, np.array([0, 0, -10.0])
    truth = to_wild(tube(80), scale)
    deeper = Mesh(truth.vertices - [0, 0, 0.7], truth.faces)
    aside = Mesh(truth.vertices + [4 / scale, 0, 0], truth.faces)
    assert score_wild(truth, deeper, scale, np.eye(3), center).cd_mm == pytest.approx(0, abs=0.01)
    assert score_wild(truth, aside, scale, np.eye(3), center).cd_mm > 1.5


def test_lab_score_undoes_a_small_scale_about_the_camera() -> None:
    flip = np.diag([1.0, -1, -1])
    K = np.array([[1200.0, 0, 128], [0, 1200, 128], [0, 0, 1]])
    Rt = np.column_stack([flip, [0, 0, 1481.48 / 62.85]])
    truth = Mesh(tube(80).vertices / 62.85, tube(80).faces)
    camera = truth.vertices @ flip.T + Rt[:, 3]
    args = (K, Rt, flip, np.array([0, 0, 1481.48]))
    assert score_lab(truth, Mesh(camera * 1.02, truth.faces), *args).cd_mm < 0.2
    missing = score_lab(truth, Mesh(camera + [1000, 0, 0], truth.faces), *args)
    assert np.isnan(missing.cd_mm)
    assert np.isnan(missing.mne_rad)
    assert np.isnan(missing.completeness)


def golden_items() -> list[tuple[str, Mesh, Mesh, dict[str, Any]]]:
    """A wild and a lab item of closed bumpy heads, which reach the back of the cylinder map, seen from 25 degrees."""

    def head(phase: float) -> np.ndarray:
        directions = np.array(trimesh.creation.icosphere(5).vertices)
        bumps = 1 + 0.06 * np.sin(5 * directions + phase).prod(1)
        return directions * bumps[:, None] * [75.0, 105, 92]

    faces = np.array(trimesh.creation.icosphere(5).faces)
    truth, prediction = head(0.4), head(0.9) * 1.03 + [1.5, -2.0, 0]
    cosine, sine = np.cos(np.radians(25)), np.sin(np.radians(25))
    turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    scale, center = 130.0, np.array([0.05, -0.02, -10.0])
    wild = {"pupil_scale": scale, "rotation": turn, "head_center": center}
    seen = [Mesh(vertices @ turn.T / scale + center, faces) for vertices in (truth, prediction)]
    flip = np.diag([1.0, -1, -1]) @ turn
    place = np.array([0, 0, 740.74])
    lab = {
        "K": np.array([[600.0, 0, 128], [0, 600, 128], [0, 0, 1]]),
        "Rt": np.column_stack([flip, place / PUPIL_DISTANCE_MM]), "rotation": flip, "head_center": place,
    }  # fmt: skip
    camera = Mesh((prediction @ flip.T * 0.97 + place) / PUPIL_DISTANCE_MM, faces)
    return [("wild", *seen, wild), ("lab", Mesh(truth / PUPIL_DISTANCE_MM, faces), camera, lab)]


def test_scores_are_those_of_a_transcription_of_the_protocol_on_other_libraries() -> None:
    """The figures are what `transcribed` of `benchmarks/evaluation.py` gives for these items."""
    expected = {"wild": (3.448811754, 0.0520277, 1.0), "lab": (1.681088860, 0.0464909, 0.9832668802)}
    for setting, truth, prediction, camera in golden_items():
        score = (score_wild if setting == "wild" else score_lab)(truth, prediction, **camera)
        error, angle, completeness = expected[setting]
        assert (score.cd_mm, score.completeness) == pytest.approx((error, completeness), abs=1e-8), setting
        # Where a ray meets an edge either of two triangles' normals may be taken.
        assert score.mne_rad == pytest.approx(angle, abs=1e-5), setting


CASES = Path(os.environ.get("FACESCAPE_CASES", Path(__file__).parents[4] / "shared" / "facescape_cases"))


@pytest.mark.skipif(not (CASES / "expected.json").is_file(), reason="the benchmark's worked cases are not here")
def test_worked_cases_of_the_official_evaluator() -> None:
    expected = json.loads((CASES / "expected.json").read_text())["cases"]
    for name, case in expected.items():
        data = np.load(CASES / f"{name}.npz")
        gt = Mesh(data["gt_v"].astype(float), data["gt_f"].astype(np.int64))
        pred = Mesh(data["pred_v"].astype(float), data["pred_f"].astype(np.int64))
        place = (data["R"], data["head_center"])
        score = (
            score_wild(gt, pred, float(data["pupil_scale"]), *place)
            if case["dataset"] == "fswild"
            else score_lab(gt, pred, data["K"], data["Rt"], *place)
        )
        # The official code with exact depth, and as it is, with its renderer's.
        as_it_is = (1e-3, 5e-4, 1e-4) if case["dataset"] == "fswild" else (0.05, 1e-3, 2e-3)
        for expected_score, within in ((case, (5e-5, 2e-5, 1e-6)), (case["official_pyrender"], as_it_is)):
            for metric, found, tolerance in zip(("cd", "mne", "cr"), score, within, strict=True):
                known = np.nan if expected_score[metric] is None else expected_score[metric]
                assert found == pytest.approx(known, abs=tolerance, nan_ok=True), (name, metric)
