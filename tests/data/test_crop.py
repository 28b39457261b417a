import numpy as np
import pytest
import torch

from mfnet.data.crop import crop_around, cut, encode_jpeg, image_of
from mfnet.render.camera import Crop


def test_decas_rule_for_68_landmarks() -> None:
    landmarks = np.zeros((68, 2))
    landmarks[0], landmarks[1] = (100, 200), (180, 300)
    landmarks[2:] = (140, 250)
    crop = crop_around(landmarks, 1.25)
    assert (crop.centre_x, crop.centre_y) == (140, 250)
    assert crop.side == int((80 + 100) / 2 * 1.1 * 1.25)


@pytest.mark.parametrize("side", [40.0, 64.0, 200.0])
def test_a_point_of_the_photograph_lands_where_the_crop_says(side: float) -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    yy, xx = np.mgrid[:240, :320] + 0.5
    bright = np.exp(-(((xx - 150) ** 2 + (yy - 120) ** 2) / (2 * (side / 12) ** 2)))
    image[:] = (bright * 255)[..., None]
    crop = Crop(155.0, 112.0, side)
    square = cut(image, crop, 64).astype(float)[..., 0]
    rows, columns = np.mgrid[:64, :64] + 0.5
    centre = np.array([(columns * square).sum(), (rows * square).sum()]) / square.sum()
    expected = (crop.to_square(torch.tensor([150.0, 120.0])).numpy() + 1) * 32
    np.testing.assert_allclose(centre, expected, atol=0.25)


def test_outside_the_photograph_is_black() -> None:
    square = cut(np.full((50, 50, 3), 255, np.uint8), Crop(0.0, 25.0, 50.0), 32)
    assert (square[:, :14] == 0).all()
    assert (square[2:-2, 18:] == 255).all()


def test_encoding_keeps_the_picture() -> None:
    yy, xx = np.mgrid[:64, :64]
    picture = np.stack([xx * 3, yy * 3, 128 + 0 * xx], -1).astype(np.uint8)
    assert np.abs(image_of(encode_jpeg(picture)).astype(int) - picture).mean() < 2
