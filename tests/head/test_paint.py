from dataclasses import replace

import numpy as np
import pytest

from mfnet.head import HeadModel
from mfnet.head.canvas import canvas_of, texel_surface
from mfnet.head.paint import Canvas, Look, draw_look, draw_traits, paint


@pytest.fixture(scope="module")
def canvas(head: HeadModel) -> Canvas:
    return canvas_of(head, 192, None)


@pytest.fixture
def look(rng: np.random.Generator) -> Look:
    return draw_look(rng, draw_traits(rng))._replace(tone=0.3, beard=0.0, moustache=0.0, cover=1.0, grey=0.0, hair=1.0)


def test_every_texel_of_a_chart_lies_on_its_triangle(head: HeadModel) -> None:
    triangle, weights = texel_surface(head.uv_coordinates, head.uv_faces, 192)
    centre = (np.arange(192) + 0.5) / 192
    u, v = np.meshgrid(centre, 1 - centre)
    place = (head.uv_coordinates[head.uv_faces[triangle]] * weights[..., None]).sum(2)
    on_chart = np.linalg.norm(place - np.stack([u, v], -1), axis=-1) < 1e-6
    assert on_chart.mean() > 0.8
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-9)


def test_tones_go_from_light_to_dark_and_the_same_look_is_the_same(canvas: Canvas, look: Look) -> None:
    skin = ~(canvas.mouth | canvas.eyeball | canvas.socket) & (canvas.positions[..., 2] > 0.03) & (canvas.lips < 0.1)
    brightness = [paint(canvas, look._replace(tone=tone))[skin].mean() for tone in (0.0, 0.3, 0.6, 1.0)]
    assert (np.diff(brightness) < -0.08).all()
    np.testing.assert_array_equal(paint(canvas, look), paint(canvas, look))


def test_brows_lie_on_the_brows_landmarks_and_lips_within_theirs(canvas: Canvas, look: Look) -> None:
    bare, browed = (paint(canvas, look._replace(brows=density, lashes=0.0)) for density in (0.0, 1.0))
    painted = np.abs(browed - bare).max(-1) > 0.05
    brow = canvas.landmarks[17:27]
    distance = np.linalg.norm(canvas.positions[painted][:, None] - brow, axis=-1).min(1)
    assert painted.sum() > 100
    assert np.quantile(distance, 0.95) < 0.009
    lips = canvas.positions[canvas.lips > 0.5]
    low, high = canvas.landmarks[48:60].min(0), canvas.landmarks[48:60].max(0)
    assert (lips[:, :2] > low[:2] - 0.001).all()
    assert (lips[:, :2] < high[:2] + 0.001).all()


def test_hair_covers_the_crown_and_not_the_face(canvas: Canvas, look: Look) -> None:
    shaved, haired = (paint(canvas, look._replace(cover=cover)) for cover in (0.0, 1.0))
    painted = np.abs(haired - shaved).max(-1) > 0.08
    crown = (canvas.positions[..., 1] > 0.115) & ~canvas.ear
    cheeks = (canvas.positions[..., 2] > 0.02) & (canvas.positions[..., 1] < 0.04)
    assert painted[crown].mean() > 0.95
    assert painted[cheeks].mean() < 0.01


def test_irises_have_the_eyes_colour(canvas: Canvas, look: Look) -> None:
    iris = canvas.eyeball & (canvas.gaze > 14) & (canvas.gaze < 24)
    blue, brown = (paint(canvas, look._replace(eyes=eyes))[iris].mean(0) for eyes in (4.0, 0.0))
    assert blue[2] > blue[0]
    assert brown[0] > brown[2]


def test_one_brush_for_every_head(head: HeadModel, look: Look) -> None:
    """A head of another size is painted at its own brows: texel by texel as the brush's own head is."""
    larger = replace(head, template=(head.template * np.float32(1.1)))
    own, other = canvas_of(head, 96, None), canvas_of(larger, 96, head)
    skin = ~(own.eyeball | own.mouth | own.socket) & (own.positions[..., 1] > -0.09)
    assert np.quantile(np.linalg.norm(own.positions - other.positions, axis=-1)[skin], 0.99) < 0.003
    difference = np.abs(paint(own, look) - paint(other, look)).max(-1)
    assert np.quantile(difference[skin], 0.95) < 0.08
