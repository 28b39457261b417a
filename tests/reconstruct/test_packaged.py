"""What comes with the package, tried on a photograph of a real person: network, detector, files."""

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage
from PIL import ExifTags, Image

from mfnet.config import SynthesizeParams
from mfnet.data import faces
from mfnet.data.crop import written_focal
from mfnet.data.faces import CropRules, preprocess
from mfnet.data.index import build_index
from mfnet.data.landmarks import OUTER_EYES
from mfnet.head import HeadModel
from mfnet.reconstruct import Reconstruction, Reconstructor
from mfnet.reconstruct.packaged_detector import PackagedDetector
from mfnet.synthesis.multipie_tree import synthesize_multipie

ASTRONAUT = skimage.data.astronaut()
LANDMARKS = np.array(json.loads((Path(__file__).parents[1] / "astronaut_landmarks.json").read_text())["landmarks"])
WITHIN = slice(17, 68)


def percent_off(landmarks: np.ndarray) -> float:
    """Of the landmarks within the face, of the outer-eye distance."""
    right, left = OUTER_EYES
    eyes = np.linalg.norm(LANDMARKS[left] - LANDMARKS[right])
    return 100 * np.linalg.norm(landmarks - LANDMARKS, axis=1)[WITHIN].mean() / eyes


@pytest.fixture(scope="module")
def reconstruction() -> Reconstruction:
    return Reconstructor.packaged("cpu")([ASTRONAUT], [LANDMARKS])


def test_the_packaged_network_sees_where_a_real_face_is(reconstruction: Reconstruction) -> None:
    assert percent_off(reconstruction.landmarks[0]) < 4.5
    assert abs(reconstruction.parameters["shape"]).max() < 3


def test_the_packaged_detector_finds_the_face_and_its_landmarks() -> None:
    landmarks = PackagedDetector()("", ASTRONAUT)
    assert landmarks is not None
    assert percent_off(landmarks) < 4.5


@pytest.mark.parametrize("name", ["coffee", "chelsea"])
def test_where_nobody_is_the_packaged_detector_finds_nobody(name: str) -> None:
    assert PackagedDetector()("", getattr(skimage.data, name)()) is None


def test_a_small_face_beside_the_middle_is_found() -> None:
    photograph = np.full((700, 1000, 3), 120, np.uint8)
    photograph[180:692, 480:992] = ASTRONAUT
    landmarks = PackagedDetector()("", photograph)
    assert landmarks is not None
    assert percent_off(landmarks - [480, 180]) < 8


def glb_of(path: Path) -> tuple[dict, bytes]:
    """The JSON and the binary part of a GLB."""
    content = path.read_bytes()
    assert content[:4] == b"glTF"
    (length,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def test_the_glb_is_skin_in_metres_with_the_same_normal_on_both_sides_of_a_seam(
    reconstruction: Reconstruction, tmp_path: Path
) -> None:
    reconstruction.save(tmp_path)
    scene, data = glb_of(tmp_path / "mesh.glb")
    material = scene["materials"][0]["pbrMetallicRoughness"]
    assert material["metallicFactor"] == 0
    assert "baseColorTexture" in material

    def array(name: str) -> np.ndarray:
        accessor = scene["accessors"][scene["meshes"][0]["primitives"][0]["attributes"][name]]
        view = scene["bufferViews"][accessor["bufferView"]]
        return np.frombuffer(data, "<f4", 3 * accessor["count"], view["byteOffset"]).reshape(-1, 3)

    places, normals = array("POSITION"), array("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)
    # In metres and with y up, as the reconstruction has them.
    np.testing.assert_allclose(
        np.sort(places[:, 1])[[0, -1]], np.sort(reconstruction.vertices[:, 1])[[0, -1]], atol=1e-6
    )
    assert 0.2 < np.ptp(places[:, 1]) < 0.5
    _, first, which = np.unique(places, axis=0, return_index=True, return_inverse=True)
    assert len(first) < len(places)
    np.testing.assert_allclose(normals, normals[first][which.ravel()], atol=1e-5)


def test_the_focal_length_that_a_camera_has_written_is_used(tmp_path: Path) -> None:
    path, exif = tmp_path / "portrait.jpg", Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    Image.fromarray(ASTRONAUT).save(path, exif=exif, quality=95)
    focal = written_focal(path)
    assert focal == pytest.approx(50 / 43.27 * 512 * 2**0.5)
    reconstructor = Reconstructor.packaged("cpu")
    by_camera = reconstructor([path], [LANDMARKS])
    assert by_camera.cameras[0].focal == pytest.approx(focal)
    assert reconstructor([path], [LANDMARKS], focal=900).cameras[0].focal == pytest.approx(900)
    assert reconstructor([ASTRONAUT], [LANDMARKS]).cameras[0].focal is None
    plain = tmp_path / "plain.png"
    Image.fromarray(ASTRONAUT).save(plain)
    assert written_focal(plain) is None


def test_preprocess_detects_faces_in_several_processes_as_in_one(
    head: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detected landmarks are those of the side file but for a detector's error, whichever process detects them."""
    head.save(tmp_path / "head.npz")
    small = SynthesizeParams(
        multipie_subjects=2, recordings=1, illuminations=[7], wild_per_bin=1, lab_subjects=1, relief_mm=0.5
    )
    root = tmp_path / "tree"
    synthesize_multipie(root, tmp_path / "head.npz", small, 0, 1)
    index = build_index(root)
    index = index[index["camera"].isin(["05_1", "13_0", "08_0"])]
    rules = CropRules(image_size=64, scale=1.25, min_face_pixels=60, min_sharpness=2)
    processes, in_parallel = [], faces.parallel_map

    def noted(work, groups, label, workers):  # type: ignore[no-untyped-def]
        processes.append(workers)
        return in_parallel(work, groups, label, workers)

    monkeypatch.setattr(faces, "parallel_map", noted)
    together, alone = (
        preprocess(index, root, rules, PackagedDetector(), tmp_path / f"faces{workers}", workers)[0]
        for workers in (2, 1)
    )
    assert processes == [2, 1]
    # What crosses to another process is no copy: every process has one detector.
    detectors = [pickle.loads(pickle.dumps(PackagedDetector())) for _ in range(2)]
    assert detectors[0] is detectors[1]
    assert len(pickle.dumps(PackagedDetector())) < 1000
    pd.testing.assert_series_equal(together["path"], alone["path"])
    both = [np.stack(kept["landmarks"].to_list()) for kept in (together, alone)]
    # A crop may be a pixel off where threads add up in another order.
    np.testing.assert_allclose(*both, atol=0.02)
    assert len(alone) == len(index)
    off = np.stack(alone["landmarks"].to_list()) - np.stack(alone["landmarks_reference"].to_list())
    assert 0 < np.linalg.norm(off.reshape(len(alone), -1, 2)[:, WITHIN], axis=2).mean() < 0.06
