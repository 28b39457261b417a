"""What is painted about a head stays where such things are, and leaves the face that is learned from."""

import numpy as np
import pytest

from mfnet.pretraining import dressing
from mfnet.pretraining.dressing import FaceFrame, dressed

SIDE = 128
SKIN, WALL = np.array([0.7, 0.5, 0.4], np.float32), np.array([0.1, 0.2, 0.6], np.float32)
_SHARES = ("_NECKED", "_CLOTHED", "_HAIRY", "_SHADED", "_BESPECTACLED")


def portrait() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Head, where it is, background and landmarks: a disc of skin on a short neck, chin at row 90, brows at row 50."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    covered = ((columns - 64) / 30) ** 2 + ((rows - 56) / 36) ** 2 < 1
    covered |= (abs(columns - 64) < 14) & (rows > 80) & (rows < 104)
    landmarks = np.zeros((68, 2))
    landmarks[:17] = np.stack(
        [64 - 28 * np.cos(np.linspace(0, np.pi, 17)), 62 + 28 * np.sin(np.linspace(0, np.pi, 17))], 1
    )
    landmarks[17:27] = np.stack([np.linspace(42, 86, 10), np.full(10, 50)], 1)
    landmarks[27:36] = 64, 66
    angles = np.array([180, 240, 300, 0, 60, 120]) * np.pi / 180
    for eye, x in ((slice(36, 42), 52), (slice(42, 48), 76)):
        landmarks[eye] = np.stack([x + 5 * np.cos(angles), 56 + 2 * np.sin(angles)], 1)
    landmarks[48:] = 64, 78
    return np.tile(SKIN, (SIDE, SIDE, 1)), covered, np.tile(WALL, (SIDE, SIDE, 1)), landmarks


def in_profile(landmarks: np.ndarray) -> np.ndarray:
    """The same head turned so that the nose points to image right: ears behind, nose before everything else."""
    turned = landmarks.copy()
    turned[[0, 16], 0] = 40
    turned[27:36, 0] = 92
    return turned


def worn(seed: int, *portrait_of: np.ndarray) -> np.ndarray:
    return dressed(seed, np.random.default_rng(seed), *portrait_of)


def wearing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """From now on everybody has these, and nobody anything else."""
    for name in _SHARES:
        monkeypatch.setattr(dressing, name, float(name in names))


def inner_face(frame: FaceFrame) -> np.ndarray:
    return (frame.up > 0.15) & (frame.up < 0.8) & (abs(frame.across) < 0.3)


@pytest.mark.parametrize("degrees", [0, 30, -75])
def test_the_frame_is_the_faces_however_it_is_tilted(degrees: float) -> None:
    landmarks = portrait()[3]
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = (landmarks - 64) @ turn.T + 64
    frame = FaceFrame.of(turned, SIDE)

    def at(values: np.ndarray, place: np.ndarray) -> float:
        x, y = place.astype(int)
        return float(values[y, x])

    assert frame.height == pytest.approx(40)
    assert frame.tilt == pytest.approx(angle, abs=1e-6)
    assert at(frame.up, turned[8]) == pytest.approx(0, abs=0.03)
    assert at(frame.up, turned[17:27].mean(0)) == pytest.approx(1, abs=0.03)
    assert at(frame.across, turned[36]) < -0.3
    assert at(frame.across, turned[45]) > 0.3


def test_nothing_is_added_to_who_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wearing(monkeypatch)
    head, covered, background, landmarks = portrait()
    picture = worn(0, head, covered, background, landmarks)
    np.testing.assert_array_equal(picture, np.where(covered[..., None], head, background))


def test_clothes_are_below_and_behind_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    wearing(monkeypatch, "_CLOTHED")
    head, covered, background, landmarks = portrait()
    frame, shares = FaceFrame.of(landmarks, SIDE), []
    for seed in range(20):
        changed = (worn(seed, head, covered, background, landmarks) != background).any(-1)
        changed &= ~covered
        assert not changed[frame.up > -0.2].any()
        shares.append(changed[-1].mean())
    assert np.mean(shares) > 0.4


def test_a_neck_goes_on_to_the_border_in_its_own_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    wearing(monkeypatch, "_NECKED")
    head, covered, background, landmarks = portrait()
    picture = worn(0, head, covered, background, landmarks)
    np.testing.assert_allclose(picture[104:, 56:72], np.broadcast_to(SKIN, (24, 16, 3)), atol=1e-6)
    np.testing.assert_array_equal(picture[:, :30], background[:, :30])
    np.testing.assert_array_equal(picture[covered], head[covered])


def test_hair_stands_off_the_head_and_leaves_the_inner_face(monkeypatch: pytest.MonkeyPatch) -> None:
    wearing(monkeypatch, "_HAIRY")
    head, covered, background, landmarks = portrait()
    inside = inner_face(FaceFrame.of(landmarks, SIDE))
    beside = []
    for seed in range(20):
        picture = worn(seed, head, covered, background, landmarks)
        np.testing.assert_allclose(picture[inside], head[inside], atol=1e-3)
        beside.append(((picture != background).any(-1) & ~covered).sum())
    assert np.median(beside) > 100


def test_a_shadow_falls_on_the_person_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    head, covered, background, landmarks = portrait()
    wearing(monkeypatch, "_NECKED")
    lit = worn(0, head, covered, background, landmarks)
    person = (lit != background).any(-1)
    wearing(monkeypatch, "_NECKED", "_SHADED")
    darker = []
    for seed in range(10):
        picture = worn(seed, head, covered, background, landmarks)
        np.testing.assert_array_equal(picture[~person], background[~person])
        assert (picture[person] <= lit[person]).all()
        assert picture[person].min() > 0.3 * SKIN.min()
        darker.append((picture[person] < 0.9 * lit[person]).mean())
    assert np.mean(darker) > 0.2


def test_hair_is_never_before_a_face_that_is_seen_from_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    wearing(monkeypatch, "_HAIRY")
    head, covered, background, landmarks = portrait()
    columns = np.arange(SIDE)
    behind = []
    for points, before in ((in_profile(landmarks), columns > 97), (landmarks, np.zeros(SIDE, bool))):
        frame = FaceFrame.of(points, SIDE)
        assert frame.facing == pytest.approx(1.0 if before.any() else 0.0, abs=1e-6)
        below_the_brows = (frame.up < 1) & (frame.up > -0.5)
        for seed in range(20):
            changed = (worn(seed, head, covered, background, points) != background).any(-1) & ~covered & below_the_brows
            assert not changed[:, before].any()
            if before.any():
                behind.append(changed[:, columns < 40].any())
    assert np.mean(behind) > 0.3


def test_a_person_wears_the_same_in_every_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    wearing(monkeypatch, "_CLOTHED", "_BESPECTACLED", "_HAIRY")
    head, covered, background, landmarks = portrait()
    views = [dressed(5, np.random.default_rng(seed), head, covered, background, landmarks) for seed in (0, 1)]
    np.testing.assert_array_equal(*views)
    # With less of the scalp to be seen the hair has another colour, and glasses and clothes stay what they are.
    covered[:44] = False
    rims = (abs(views[0] - np.where(covered[..., None], head, background)) > 0.05).any(-1)[46:66, 44:84]
    again = dressed(5, np.random.default_rng(2), head, covered, background, landmarks)
    np.testing.assert_allclose(again[46:66, 44:84][rims], views[0][46:66, 44:84][rims], atol=1e-5)


def test_glasses_are_about_the_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    wearing(monkeypatch, "_BESPECTACLED")
    head, covered, background, landmarks = portrait()
    frame = FaceFrame.of(landmarks, SIDE)
    bare = np.where(covered[..., None], head, background)
    for seed in range(10):
        changed = (abs(worn(seed, head, covered, background, landmarks) - bare) > 1e-3).any(-1)
        assert changed.any()
        assert not changed[(frame.up < 0.4) | (frame.up > 1.3)].any()
        # Rims are around the eyes, and a bridge joins them.
        assert changed[45:68, 52].any()
        assert changed[45:68, 76].any()
        assert changed[45:68, 64].any()


def test_who_is_dressed_how_follows_from_the_seed() -> None:
    first, again, other = (worn(seed, *portrait()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
