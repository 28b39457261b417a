"""People drawn for training: what is said of a photograph is true of it."""

import numpy as np
import pytest
import torch

from mfnet.head import Flame, HeadModel
from mfnet.method.network import decode
from mfnet.pretraining import people as people_module
from mfnet.pretraining.people import KnownPhotographs, People
from mfnet.render import rasterize


@pytest.fixture(scope="module")
def people(head: HeadModel) -> People:
    return People(head, 64, 1.25, n_skins=3, seed=0)


@pytest.fixture(scope="module")
def known(people: People) -> KnownPhotographs:
    return people.draw(np.random.default_rng(5), 4, 3)


def test_the_parameters_decode_to_the_landmarks_and_vertices_that_are_said(
    head: HeadModel, known: KnownPhotographs
) -> None:
    decoded = decode(Flame(head, 300, 100), known.truth, lens=known.lens)
    torch.testing.assert_close(decoded.landmarks[..., :2], known.landmarks)
    torch.testing.assert_close(decoded.projected, known.vertices)
    # Orthography at the landmarks' mean has them near: nearer the further away the camera is.
    flat = decode(Flame(head, 300, 100), known.truth).landmarks[..., :2]
    distance = known.lens.focal / (10 * known.truth.camera[..., 0].flatten().exp())
    missed = (flat - known.landmarks).norm(dim=-1).mean(1)
    assert missed[distance > 1.5].max() < 0.06
    assert distance.min() < 1 < distance.max()


def test_the_head_is_where_its_vertices_are(head: HeadModel, people: People) -> None:
    """The same people before two backgrounds: what does not change is the head."""
    faces = torch.tensor(head.faces)
    images, masks = [], []
    for seed in range(6):
        one = people.draw(np.random.default_rng(seed), 1, 1)
        covered = rasterize(one.vertices, faces, (64, 64)).pix_to_face[0] >= 0
        images.append(one.images[0, 0])
        masks.append(covered)
        assert 0.15 < covered.float().mean() < 0.95
    # Skin is redder than what is behind it, on average.
    redness = torch.stack([image[0] - image[2] for image in images])
    inside = torch.stack(masks)
    assert redness[inside].mean() > redness[~inside].mean() + 0.05


def test_crops_are_those_of_a_detector_that_errs(people: People) -> None:
    known = people.draw(np.random.default_rng(1), 40, 1)
    low, high = known.landmarks.amin(1), known.landmarks.amax(1)
    half = (high - low).mean(1) * 1.1 * 1.25 / 2
    assert half.log().mean().abs() < 0.05
    assert 0.06 < half.log().std() < 0.22
    assert 0.05 < ((low + high) / 2).std() < 0.2


def test_what_is_drawn_follows_from_the_generator_alone(people: People, head: HeadModel) -> None:
    first, again, other = (people.draw(np.random.default_rng(seed), 2, 2) for seed in (3, 3, 4))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    elsewhere = People(head, 64, 1.25, n_skins=3, seed=0).draw(np.random.default_rng(3), 2, 2)
    assert torch.equal(first.images, elsewhere.images)


def test_the_photographs_of_a_person_have_one_shape_and_many_poses(people: People) -> None:
    known = people.draw(np.random.default_rng(2), 30, 4)
    assert known.truth.shape.shape == (30, 300)
    yaw = torch.rad2deg(known.truth.rotation[..., 1])
    assert (yaw.abs() > 60).float().mean() > 0.1
    assert (yaw.abs() < 20).float().mean() > 0.25
    assert torch.isfinite(known.images).all()
    assert known.images.amin() >= 0
    assert known.images.amax() <= 1


def test_the_photographs_of_a_person_show_the_same_outfit(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    outfits, dress = [], people_module.dressed

    def noted(outfit: int, *others: object) -> np.ndarray:
        outfits.append(outfit)
        return dress(outfit, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(people_module, "dressed", noted)
    people.draw(np.random.default_rng(0), 3, 2)
    assert outfits[::2] == outfits[1::2]
    assert len(set(outfits)) == 3
