import numpy as np
import pytest

from mfnet.head import HeadModel
from mfnet.synthesis.person import Performance, Sculptor, draw_performance, draw_person, skin_canvas


@pytest.fixture(scope="module")
def sculptor(head: HeadModel) -> Sculptor:
    return Sculptor(head, skin_canvas(head))


STILL = Performance(np.zeros(100), np.zeros(15))


def test_a_persons_skin_lies_off_every_shape_of_the_model(head: HeadModel, rng: np.random.Generator) -> None:
    person = draw_person(rng, head, 0.0, 1.0)
    face = head.regions["face"]
    assert np.sqrt((person.deviation[face] ** 2).sum(1).mean()) == pytest.approx(1e-3, rel=1e-6)
    flat = head.shape_directions.reshape(-1, 300).astype(float)
    flat /= np.linalg.norm(flat, axis=0)
    assert np.abs(flat.T @ person.deviation.ravel()).max() < 0.05 * np.linalg.norm(person.deviation)


def test_the_deviation_is_smooth_and_leaves_the_eyeballs(head: HeadModel, rng: np.random.Generator) -> None:
    person = draw_person(rng, head, 0.0, 1.0)
    edges = head.faces[head.face_region][:, :2]
    apart = np.linalg.norm(person.deviation[edges[:, 0]] - person.deviation[edges[:, 1]], axis=1)
    length = np.linalg.norm(head.template[edges[:, 0]] - head.template[edges[:, 1]], axis=1)
    assert np.median(apart / length) < 0.35
    balls = head.skinning_weights[:, 3:].max(1) > 0.5
    assert np.linalg.norm(person.deviation[balls], axis=1).max() < 3e-4


def test_no_deviation_and_no_relief_give_the_models_own_people(
    head: HeadModel, sculptor: Sculptor, rng: np.random.Generator
) -> None:
    person = draw_person(rng, head, 0.0, 0.0)
    vertices = sculptor.sculpt(person, STILL)
    expected = head.template + head.shape_directions @ person.shape.astype(np.float32)
    np.testing.assert_allclose(vertices, expected, atol=2e-6)


def test_shapes_follow_sex_and_age(head: HeadModel) -> None:
    people = [draw_person(np.random.default_rng([7, k]), head, 0.0, 0.0) for k in range(120)]
    for name in ("female", "age", "african"):
        predicted = np.array([head.traits[name][0] + head.traits[name][1:] @ person.shape for person in people])
        true = np.array([person.traits[name] for person in people])
        assert np.corrcoef(predicted, true)[0, 1] > 0.8


def test_people_are_of_both_sexes_all_ages_and_all_tones(head: HeadModel) -> None:
    people = [draw_person(np.random.default_rng([8, k]), head, 0.0, 0.0) for k in range(150)]
    assert 0.35 < np.mean([person.traits["female"] for person in people]) < 0.65
    ages = [person.traits["age"] for person in people]
    assert min(ages) < 25
    assert max(ages) > 73
    tones = np.array([person.look.tone for person in people])
    assert (np.histogram(tones, 4, (0, 1))[0] >= 3).all()
    assert not [person for person in people if person.traits["female"] and person.look.beard]


@pytest.mark.parametrize(
    ("expression", "moved"),
    [("smile", lambda p: p[54, 0] - p[48, 0]), ("surprise", lambda p: p[[19, 24], 1].mean() - p[27, 1]),
     ("scream", lambda p: p[62, 1] - p[66, 1])],
)  # fmt: skip
def test_named_expressions_do_what_they_are_called(head: HeadModel, sculptor: Sculptor, expression: str, moved) -> None:  # type: ignore[no-untyped-def]
    person = draw_person(np.random.default_rng(0), head, 0.0, 0.0)
    rest = sculptor.landmarks(sculptor.sculpt(person, STILL), 0.0)
    performances = [draw_performance(np.random.default_rng(k), head, expression) for k in range(8)]
    played = [sculptor.landmarks(sculptor.sculpt(person, performance), 0.0) for performance in performances]
    assert np.mean([moved(points) - moved(rest) for points in played]) > 0.002


def test_a_head_that_names_no_actions_has_expressions_too(head: HeadModel, rng: np.random.Generator) -> None:
    from dataclasses import replace

    nameless = replace(head, actions={}, traits={})
    first, second = (draw_performance(np.random.default_rng(k), nameless, "smile").expression for k in (1, 2))
    assert np.corrcoef(first, second)[0, 1] > 0.3
    assert np.isfinite(draw_person(rng, nameless, 0.3, 1.0).shape).all()
