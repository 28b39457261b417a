import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfnet.synthesis.pose import head_rotation, seen_yaw

degrees = st.floats(-80, 80)


@given(degrees, degrees)
def test_the_seen_yaw_is_the_heads_own_whatever_its_roll_in_a_level_camera(yaw: float, pitch: float) -> None:
    np.testing.assert_allclose(seen_yaw(head_rotation(yaw, 0.0)), yaw, atol=1e-9)
    # Pitched after the turn, the head's side (+x) is turned down as well, and less yaw is seen.
    assert abs(seen_yaw(head_rotation(yaw, pitch))) <= abs(yaw) + 1e-9


@pytest.mark.parametrize(("yaw", "pitch", "expected"), [(30.0, 0.0, 30.0), (30.0, 60.0, 14.4775), (0.0, 45.0, 0.0)])
def test_seen_yaw_of_known_rotations(yaw: float, pitch: float, expected: float) -> None:
    np.testing.assert_allclose(seen_yaw(head_rotation(yaw, pitch)), expected, atol=1e-3)


def test_a_positive_yaw_turns_the_nose_to_image_right_and_a_positive_pitch_down() -> None:
    nose = np.array([0.0, 0.0, 1.0])
    assert (head_rotation(30, 0) @ nose)[0] > 0.4
    assert (head_rotation(0, 30) @ nose)[1] < -0.4
