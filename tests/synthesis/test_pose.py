import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mfnet.synthesis.pose import head_rotation, seen_yaw

degrees = st.floats(-80, 80)


@given(degrees, degrees)
def test_the_seen_yaw_of_a_pitched_head_is_its_own_where_the_camera_is_level(yaw: float, roll: float) -> None:
    np.testing.assert_allclose(seen_yaw(head_rotation(yaw, 0.0, 0.0)), yaw, atol=1e-9)
    rotation = head_rotation(yaw, 12.0, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0


def test_a_positive_yaw_turns_the_nose_to_image_right_and_a_positive_pitch_down() -> None:
    nose = np.array([0.0, 0.0, 1.0])
    assert (head_rotation(30, 0) @ nose)[0] > 0.4
    assert (head_rotation(0, 30) @ nose)[1] < -0.4
