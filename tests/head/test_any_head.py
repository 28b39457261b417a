"""What must hold on any head that people are made of: the packaged one, and a stranger to it on the same mesh."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from mfnet.head import Flame, HeadModel, anny_head
from mfnet.head.strangers import stranger
from mfnet.render.shading import vertex_normals


@pytest.fixture(scope="module", params=["packaged", "stranger"])
def any_head(request: pytest.FixtureRequest) -> HeadModel:
    return anny_head() if request.param == "packaged" else stranger(anny_head(), 1)


def neutral(head: HeadModel, people: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.zeros(people, 100), torch.zeros(people, 50), torch.zeros(people, 15)


def test_no_edge_has_more_than_two_triangles_and_only_the_neck_is_open(any_head: HeadModel) -> None:
    corners = any_head.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = Counter(map(tuple, np.sort(corners, 1)))
    assert max(edges.values()) == 2
    assert max(Counter(map(tuple, corners)).values()) == 1  # and all triangles turn the same way
    rim = np.unique([edge for edge, count in edges.items() if count == 1])
    assert any_head.template[rim, 1].max() < any_head.template[:, 1].min() + 0.08


def test_directions_are_of_decreasing_variance_and_as_many_as_there_are(head: HeadModel) -> None:
    for directions, count in ((head.shape_directions, 300), (head.expression_directions, 42)):
        variance = (directions.astype(float) ** 2).sum((0, 1))
        assert (np.diff(variance) <= 1e-12).all()
        assert variance[count - 1] > 0
        assert not variance[count:].any()


def test_the_first_hundred_directions_hold_ninety_nine_per_cent(head: HeadModel) -> None:
    variance = (head.shape_directions.astype(float) ** 2).sum((0, 1))
    assert variance[:100].sum() > 0.99 * variance.sum()


def test_directions_are_orthogonal(head: HeadModel) -> None:
    flat = head.shape_directions.reshape(-1, 300).astype(float)
    flat = flat / np.linalg.norm(flat, axis=0)
    product = flat[:, :40].T @ flat[:, :40]
    assert np.abs(product - np.eye(40)).max() < 1e-3


def test_landmarks_are_where_a_face_has_them(any_head: HeadModel) -> None:
    landmarks = Flame(any_head)(*neutral(any_head)).landmarks[0].numpy()
    assert 0.080 < landmarks[45, 0] - landmarks[36, 0] < 0.100
    assert landmarks[30, 2] > landmarks[[27, 33, 51, 57], 2].max()
    assert landmarks[8, 1] == landmarks[:, 1].min()
    assert landmarks[0, 0] < 0 < landmarks[16, 0]
    brow, eye, nose, mouth = (
        landmarks[part, 1].mean() for part in (range(17, 27), range(36, 48), [30, 33], range(48, 68))
    )
    assert brow > eye > nose > mouth > landmarks[8, 1]


def test_the_packaged_heads_landmarks_are_symmetric(head: HeadModel) -> None:
    from mfnet.data.landmarks import MIRROR

    landmarks = Flame(head)(*neutral(head)).landmarks[0].numpy()
    np.testing.assert_allclose(landmarks[MIRROR] * [-1, 1, 1], landmarks, atol=3e-4)


# Mean of iBUG's annotations: brows, nose, eyes and lips of the person's right half and of the middle,
# in dlib's unit. Source: dlib 19, image_transforms/interpolation.h.
ANNOTATED = {
    17: (0.000213, 0.106454), 18: (0.075262, 0.038915), 19: (0.18113, 0.018748), 20: (0.29077, 0.034489),
    21: (0.393397, 0.077391), 27: (0.490127, 0.203352), 28: (0.490127, 0.307009), 29: (0.490127, 0.409805),
    30: (0.490127, 0.515625), 31: (0.36688, 0.587326), 32: (0.426036, 0.609345), 33: (0.490127, 0.628106),
    36: (0.121737, 0.216423), 37: (0.187122, 0.178758), 38: (0.265825, 0.179852), 39: (0.334606, 0.231733),
    40: (0.260918, 0.245099), 41: (0.182743, 0.244077), 48: (0.254149, 0.780233), 49: (0.340985, 0.745405),
    50: (0.428858, 0.727388), 51: (0.490127, 0.742578), 57: (0.490127, 0.909281), 58: (0.423532, 0.902192),
    59: (0.338094, 0.864805),
}  # fmt: skip


def test_the_packaged_heads_landmarks_lie_as_on_annotated_faces(head: HeadModel) -> None:
    """A detector finds what annotators marked: a landmark that is elsewhere on the head is off in every photograph."""
    points = 1000 * Flame(head)(*neutral(head)).landmarks[0].numpy().astype(float)[list(ANNOTATED)]
    annotated = np.array(list(ANNOTATED.values())) - [0.490127, 0.0]

    def seen(pitch: float, mm: float, lower: float) -> np.ndarray:
        """Millimetres from the annotated, seen from a metre by a camera that looks up or down a little."""
        across, up, toward = (points @ Rotation.from_euler("x", pitch).as_matrix().T).T
        nearer = 1000 / (1000 - toward + toward.mean())
        return np.stack([across * nearer, -up * nearer], -1) - mm * annotated - [0, lower]

    fit = least_squares(lambda free: seen(*free).ravel(), [0.0, 120.0, -30.0])
    distances = dict(zip(ANNOTATED, np.linalg.norm(seen(*fit.x), axis=1).round(1), strict=True))
    corner = distances.pop(48)  # annotated people smile
    assert corner < 8
    assert max(distances.values()) < 3.5, distances
    assert np.mean(list(distances.values())) < 1.5, distances


def test_a_turned_heads_far_contour_is_its_silhouette(head: HeadModel) -> None:
    flame = Flame(head)
    pose = torch.zeros(1, 15)
    pose[0, 1] = np.radians(35)
    out = flame(*neutral(head)[:2], pose)
    points, skin = out.landmarks[0].numpy(), out.vertices[0].numpy()[~head.regions["ears"]]
    for point in points[11:16]:
        level = skin[np.abs(skin[:, 1] - point[1]) < 0.003]
        front = level[level[:, 2] > point[2] - 0.02]
        assert point[0] > front[:, 0].max() - 0.004


def test_surface_is_oriented_outwards(any_head: HeadModel) -> None:
    vertices = torch.tensor(any_head.template)[None]
    normals = vertex_normals(vertices, torch.tensor(any_head.faces))[0].numpy()
    # Nostrils, lids and ears have folds; the skull has none.
    skull = any_head.template[:, 1] > 0.06
    outward = (any_head.template - [0, 0, -0.045])[skull]
    assert ((normals[skull] * outward).sum(1) > 0).all()


def test_opening_the_jaw_parts_the_lips_and_leaves_the_brow(any_head: HeadModel) -> None:
    pose = torch.zeros(2, 15)
    pose[1, 6] = 0.25
    landmarks = Flame(any_head)(*neutral(any_head, 2)[:2], pose).landmarks
    gap = landmarks[:, 62, 1] - landmarks[:, 66, 1]
    assert gap[0] < 0.003
    assert gap[1] > 0.010
    assert (landmarks[1, 17:27] - landmarks[0, 17:27]).abs().max() < 1e-3


def test_a_bent_neck_keeps_its_volume(head: HeadModel) -> None:
    flame = Flame(head)
    rings = (head.template[:, 1] < -0.08) & (head.template[:, 1] > -0.12) & ~head.regions["mouth"]
    wide = []
    for angle in (0.0, 0.7):
        pose = torch.zeros(1, 15)
        pose[0, 4] = angle
        vertices = flame(*neutral(head)[:2], pose).vertices[0].numpy()[rings]
        wide.append(np.linalg.norm(vertices[:, [0, 2]] - vertices[:, [0, 2]].mean(0), axis=1).mean())
    assert wide[1] > 0.97 * wide[0]


def test_weights_and_regressor_are_affine(any_head: HeadModel) -> None:
    np.testing.assert_allclose(any_head.skinning_weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(any_head.joint_regressor.sum(1), 1, atol=1e-5)
    assert any_head.skinning_weights.min() >= -1e-7


def test_no_triangle_of_the_face_turns_over_and_lids_and_lips_do_not_cross(head: HeadModel) -> None:
    rng = np.random.default_rng(0)
    flame = Flame(head, 300, 100)
    faces = head.faces[head.face_region]
    rest = head.template[faces].astype(float)
    usual = np.cross(rest[:, 1] - rest[:, 0], rest[:, 2] - rest[:, 0])
    turned, gaps = [], []
    for _ in range(10):
        shape = torch.tensor(rng.normal(size=(50, 300)), dtype=torch.float32)
        out = flame(shape, torch.zeros(50, 100), torch.zeros(50, 15))
        corners = out.vertices.numpy()[:, faces].astype(float)
        normal = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
        turned.append(((normal * usual).sum(-1) < 0).mean(0))
        points = out.landmarks.numpy()
        pairs = ((37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (63, 65))
        gaps.append(np.stack([points[:, upper, 1] - points[:, lower, 1] for upper, lower in pairs], 1))
    # Hardly any does, and these are where skin folds: in the corners of eyes and mouth and under the nose's wings.
    assert np.mean(turned) < 0.002
    assert (np.mean(turned, 0) > 0.05).mean() < 0.02
    assert np.concatenate(gaps)[:, :4].min() > 0.003
    assert np.concatenate(gaps)[:, 4:].min() > -0.002


def test_people_differ_by_millimetres(head: HeadModel, rng: np.random.Generator) -> None:
    people = rng.normal(size=(40, 300)) @ head.shape_directions.reshape(-1, 300).T.astype(float)
    face = people.reshape(40, -1, 3)[:, head.regions["face"]]
    spread = np.sqrt((face.std(0) ** 2).sum(1)).mean()
    assert 0.003 < spread < 0.009


def test_the_texture_layout_gives_the_face_half_and_no_texel_to_two(head: HeadModel) -> None:
    corners = head.uv_coordinates[head.uv_faces].astype(float)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    assert area[head.face_region].sum() > 0.5
    from mfnet.render.texture import TextureSpace

    # Were two triangles on one texel, the covered texels would be fewer than the triangles' area.
    covered = (TextureSpace(head, 512).fragment_faces >= 0).float().mean().item()
    assert covered == pytest.approx(area.sum(), abs=0.006)
