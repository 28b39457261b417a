import base64
import json
import re
from pathlib import Path

import numpy as np
import trimesh

from mfnet.evaluation.heat import (
    HeatMesh,
    heat_colours,
    heat_palette,
    read_heat_mesh,
    surface_error,
    write_heat_mesh,
)
from mfnet.evaluation.protocol.scores import Mesh
from mfnet.evaluation.report.viewer import Heads
from mfnet.head import HeadModel


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


def test_a_written_mesh_is_read_back(tmp_path: Path) -> None:
    prediction = ball(62.0)
    heat = HeatMesh(prediction, surface_error(prediction, front(ball(60.0))))
    write_heat_mesh(tmp_path / "a.ply", heat)
    again = read_heat_mesh(tmp_path / "a.ply")
    np.testing.assert_allclose(again.error, heat.error, rtol=1e-5)
    np.testing.assert_allclose(trimesh.load(tmp_path / "a.ply", process=False).vertices, prediction.vertices, atol=1e-3)


def test_every_head_to_be_turned_is_on_the_page_once_with_its_colours() -> None:
    """What the page's script unpacks: vertices to the step they are stored in, colours from blue to red, and grey."""
    small = ball(10.0)
    heats = [HeatMesh(small, np.full(len(small.vertices), error)) for error in (0.0, np.nan, 10.0)]
    heads = Heads()
    canvases = [heads.canvas(heat, f"head <{number}>") for number, heat in enumerate(heats)]
    assert [re.findall(r"data-head='(\d+)'", canvas) for canvas in canvases] == [["0"], ["1"], ["2"]]
    assert "head &lt;1&gt;" in canvases[1]
    stored = json.loads(re.findall(r"id='heads'>(.*?)</script>", heads.script())[0])
    # All three have the same triangles.
    assert len(stored["topologies"]) == 1
    palette = np.frombuffer(base64.b64decode(stored["palette"]), np.uint8).reshape(-1, 3).astype(int)
    for head, heat in zip(stored["heads"], heats, strict=True):
        steps = np.frombuffer(base64.b64decode(head["vertices"]), "<i2").reshape(-1, 3)
        np.testing.assert_allclose(steps * stored["step_mm"], small.vertices, atol=stored["step_mm"])
        colours = palette[np.frombuffer(base64.b64decode(head["colours"]), np.uint8)]
        np.testing.assert_allclose(colours, (heat_colours(heat.error) * 255).round(), atol=1)
    assert np.ptp(palette[-1]) == 0
    assert np.array_equal(palette, heat_palette())


def test_a_head_that_is_shown_twice_is_stored_once_and_a_whole_page_stays_small(head: HeadModel) -> None:
    heads, rng = Heads(), np.random.default_rng(0)
    vertices = 1000 * head.template.astype(float)
    for _ in range(44):
        moved = Mesh(vertices + rng.normal(size=vertices.shape), head.faces)
        canvas = heads.canvas(HeatMesh(moved, rng.uniform(0, 10, len(vertices))), "one of the default's heads")
    again = heads.canvas(HeatMesh(moved, np.zeros(len(vertices))), "the last one in another colour")
    assert heads.canvas(HeatMesh(moved, np.zeros(len(vertices))), "the last one in another colour") == again != canvas
    # Beside them the page has about a megabyte of pictures.
    assert len(heads.script()) < 4.5e6


def test_the_pages_script_carries_the_library_it_needs() -> None:
    script = Heads().script()
    assert "THREE.TrackballControls=" in script
    assert not re.search(r"<script[^>]*src=", script)
