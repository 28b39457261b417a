import base64
import io
import re
from pathlib import Path

import numpy as np
import trimesh

from mfnet.evaluation.facescape import Mesh
from mfnet.evaluation.heat import HeatMesh, heat_picture, read_heat_mesh, surface_error, write_heat_mesh
from mfnet.evaluation.turntable import turntable


def ball(radius: float) -> Mesh:
    sphere = trimesh.creation.icosphere(4, radius)
    return Mesh(np.array(sphere.vertices), np.array(sphere.faces))


def front(mesh: Mesh) -> Mesh:
    """The half with z > 0, its vertices numbered anew."""
    kept = mesh.faces[(mesh.vertices[mesh.faces][..., 2] > 0).all(1)]
    used, faces = np.unique(kept, return_inverse=True)
    return Mesh(mesh.vertices[used], faces.reshape(-1, 3))


def test_what_the_scan_does_not_reach_has_no_error() -> None:
    prediction, truth = ball(62.0), front(ball(60.0))
    error = surface_error(prediction, truth)
    height = prediction.vertices[:, 2]
    assert np.isnan(error[height < 0]).all()
    np.testing.assert_allclose(error[height > 10], 2.0, atol=1e-6)
    assert np.isnan(surface_error(truth, truth)).mean() < 0.1
    closed = surface_error(prediction, ball(60.0))
    assert np.isfinite(closed).all()


def test_the_error_is_the_distance_to_the_surface_and_not_to_its_vertices() -> None:
    """Points ten millimetres above a box of twelve triangles, far from all of its corners."""
    box = trimesh.creation.box((100, 100, 30))
    points = Mesh(np.array([[0.0, 0, 25], [20, -10, 25], [3, 30, 25]]), np.array([[0, 1, 2]]))
    closed = Mesh(np.array(box.vertices), np.array(box.faces))
    np.testing.assert_allclose(surface_error(points, closed), 10.0)


def test_a_written_mesh_is_read_back_and_shown_grey_where_there_is_no_error(tmp_path: Path) -> None:
    prediction = ball(62.0)
    heat = HeatMesh(prediction, surface_error(prediction, front(ball(60.0))))
    write_heat_mesh(tmp_path / "a.ply", heat)
    again = read_heat_mesh(tmp_path / "a.ply")
    np.testing.assert_allclose(again.error, heat.error, rtol=1e-5)
    np.testing.assert_allclose(trimesh.load(tmp_path / "a.ply", process=False).vertices, prediction.vertices, atol=1e-3)
    turned = Mesh(prediction.vertices * [-1, 1, -1], prediction.faces)
    spread = [np.ptp(heat_picture(HeatMesh(mesh, heat.error), 64)[32, 96], axis=-1) for mesh in (prediction, turned)]
    assert spread[0] > 30
    assert spread[1] <= 1


def test_every_mesh_to_be_turned_is_there_in_its_row_with_its_colours() -> None:
    """The viewer's own scene, taken out of its page: three balls, the last below the first."""
    small = ball(10.0)
    heats = [HeatMesh(small, np.full(len(small.vertices), error)) for error in (0.0, np.nan, 10.0)]
    longest = max(re.findall("[A-Za-z0-9+/=]+", turntable([heats[:2], heats[2:]])), key=len)
    scene = trimesh.load(io.BytesIO(base64.b64decode(longest)), file_type="glb")
    shown = sorted((tuple(-mesh.centroid.round()[[1, 0]]), mesh) for mesh in scene.dump())
    places = [place for place, _ in shown]
    assert len(places) == 3
    assert places[0][0] == places[1][0] < places[2][0]
    right, left, below = (mesh.visual.vertex_colors[0, :3].astype(int) for _, mesh in shown)
    assert np.ptp(right) == 0
    assert left.argmax() == 2
    assert below.argmax() == 0
