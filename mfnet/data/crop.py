"""The square around a face that the network sees: DECA's rule for 68 landmarks."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from mfnet.render.camera import Crop

CROP_MARGIN = 1.1
_FILM_DIAGONAL = 43.27


def crop_around(landmarks: np.ndarray, scale: float) -> Crop:
    """DECA's `kpt68` square: side int(1.1 (w + h) / 2 * scale) about the centre of the landmarks' box.

    Args:
        landmarks: [68, 2] pixels, 0 at the image's edge.
        scale: 1.25 in DECA's test set-up.
    """
    low, high = landmarks.min(0), landmarks.max(0)
    side = int((high - low).mean() * CROP_MARGIN * scale)
    centre = (low + high) / 2
    return Crop(float(centre[0]), float(centre[1]), float(max(side, 1)))


def normalised(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """Pixels of the photograph [..., 2] in the crop's [-1, 1]."""
    return (pixels - [crop.centre_x, crop.centre_y]) * (2 / crop.side)


def cut(image: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """The square of a uint8 image [H, W, 3] as [size, size, 3]; black outside the photograph.

    Edges map to edges (DECA maps the corners to the outermost pixels' centres, half a pixel inside). Large
    photographs are averaged, not picked, so that the crop does not alias.
    """
    factor = max(1, round(crop.side / size))
    fine = size * factor
    step = crop.side / fine
    x, y = crop.centre_x - crop.side / 2, crop.centre_y - crop.side / 2
    to_photograph = np.array([[step, 0, x + step / 2 - 0.5], [0, step, y + step / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(image, to_photograph, (fine, fine), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA) if factor > 1 else square


def read_image(path: Path) -> np.ndarray | None:
    """RGB uint8 [H, W, 3], or None where the file is missing or unreadable."""
    # Of a missing file OpenCV would warn in words of its own.
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    return None if image is None else np.ascontiguousarray(image[..., ::-1])


def written_focal(path: Path) -> float | None:
    """Focal length in pixels that a camera has written into its photograph; None where there is none.

    EXIF has what a lens on 35 mm film would have, whose picture's diagonal is 43.27 mm.
    """
    try:
        with Image.open(path) as image:
            on_film = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
            return float(on_film) / _FILM_DIAGONAL * math.hypot(*image.size) if on_film else None
    except (OSError, SyntaxError, ValueError, TypeError):
        return None


def encode_jpeg(image: np.ndarray) -> bytes:
    """JPEG bytes of an RGB uint8 image, at a quality that leaves no visible trace."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    return data.tobytes()


def image_of(data: bytes) -> np.ndarray:
    """RGB uint8 [H, W, 3] of encoded bytes."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1]
