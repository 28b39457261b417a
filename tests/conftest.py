import os
import signal

# A shell that starts the tests in the background lets them ignore Ctrl-C, and the processes that they start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before numpy and torch are imported, which read it then.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from mfnet.head import HeadModel, anny_head


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that makes the small pipeline first, those that need it last: workers then wait least for it.

    Of these the longest goes first and the shortest last, so that no worker is left alone with a long one.
    """

    def turn(item: pytest.Item) -> int:
        if item.path.parent.name != "pipeline":
            return 1
        return {"test_repro": 0, "test_experiment": 2, "test_command_line": 4}.get(item.path.stem, 3)

    items.sort(key=turn)


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> HeadModel:
    """The packaged head, through its file, so that every test sees what a stage would."""
    path = tmp_path_factory.mktemp("head") / "head.npz"
    anny_head().save(path)
    return HeadModel.load(path)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


class Ch:
    """Pickles as chumpy's plain array does."""

    def __init__(self, x: np.ndarray) -> None:
        self.__dict__.update(x=x, _dirty_vars=set(), _itr=None, _depends_on_deps={})


@pytest.fixture
def flame_files(head: HeadModel, tmp_path: Path) -> Iterator[dict[str, Path]]:
    """FLAME's files, imitated from the packaged head with the traps of the originals."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = Ch  # type: ignore[attr-defined]
    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    sys.modules["chumpy"], sys.modules["chumpy.ch"] = types.ModuleType("chumpy"), module
    directions = np.concatenate([head.shape_directions, head.expression_directions], -1).astype(float)
    model = {
        "v_template": head.template.astype(float),
        "shapedirs": Ch(directions),
        "posedirs": head.pose_directions.astype(float),
        "J_regressor": scipy.sparse.csc_matrix(head.joint_regressor.astype(float)),
        "weights": head.skinning_weights.astype(float),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], range(5)], np.uint32),
        "f": head.faces.astype(np.uint32),
        "bs_type": "lrotmin",
    }
    paths = {name: tmp_path / file for name, file in (
        ("model", "generic_model.pkl"), ("landmarks", "landmark_embedding.npy"),
        ("texture", "FLAME_texture.npz"), ("masks", "FLAME_masks.pkl"),
    )}  # fmt: skip
    data = pickle.dumps(model, protocol=2).replace(b"scipy.sparse._csc", b"scipy.sparse.csc")
    paths["model"].write_bytes(data)
    embedding = {
        "static_lmk_faces_idx": head.static_landmark_faces,
        "static_lmk_bary_coords": head.static_landmark_barycentric.astype(float),
        "dynamic_lmk_faces_idx": torch.tensor(head.contour_landmark_faces),
        "dynamic_lmk_bary_coords": torch.tensor(head.contour_landmark_barycentric),
        # The jaw's own points are not the frontal contour's: here they are those of another row.
        "full_lmk_faces_idx": np.r_[head.contour_landmark_faces[30], head.static_landmark_faces][None],
        "full_lmk_bary_coords": np.concatenate(
            [head.contour_landmark_barycentric[30], head.static_landmark_barycentric]
        )[None],
    }
    np.save(paths["landmarks"], embedding, allow_pickle=True)  # type: ignore[arg-type]
    np.savez(
        paths["texture"], mean=head.albedo_mean[..., ::-1] * 255, vt=head.uv_coordinates, ft=head.uv_faces,
        tex_dir=np.moveaxis(head.albedo_basis.astype(np.float32)[..., ::-1] * 255, 0, -1),
    )  # fmt: skip
    eyes = np.flatnonzero(head.regions["eyes"])
    masks = {"left_eyeball": eyes[::2], "right_eyeball": eyes[1::2], "face": np.flatnonzero(head.regions["face"])}
    paths["masks"].write_bytes(pickle.dumps(masks, protocol=0))
    yield paths
    del sys.modules["chumpy"], sys.modules["chumpy.ch"]


DEVICES = [
    "cpu",
    *(["cuda"] if torch.cuda.is_available() else []),
    *(["mps"] if torch.backends.mps.is_available() else []),
]
# How far single precision may be from double, in units of the values.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12}


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device there is."""
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request: pytest.FixtureRequest, device: torch.device) -> torch.dtype:
    """Single and double precision, where the device has it."""
    if device.type == "mps" and request.param == torch.float64:
        pytest.skip("Apple's devices have no double precision")
    return request.param


@pytest.fixture
def same_everywhere(device: torch.device, dtype: torch.dtype) -> Callable[..., None]:
    """Asserts that a function of tensors stays on the device and in the precision, and gives what it gives in double on
    the CPU."""

    def check(call: Callable[..., object], *inputs: torch.Tensor, tolerance: float | None = None) -> None:
        expected = _tensors(call(*(part.double() if part.is_floating_point() else part for part in inputs)))
        placed = [part.to(device, dtype) if part.is_floating_point() else part.to(device) for part in inputs]
        for ours, reference in zip(_tensors(call(*placed)), expected, strict=True):
            assert ours.device.type == device.type
            if ours.is_floating_point():
                assert ours.dtype == dtype
                limit = TOLERANCE[dtype] if tolerance is None or dtype == torch.float64 else tolerance
                torch.testing.assert_close(ours.cpu().double(), reference, atol=limit, rtol=limit)
            else:
                assert (ours.cpu() == reference).double().mean() > 0.99

    return check


def _tensors(result: object) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    parts = result.values() if isinstance(result, dict) else result
    return [tensor for part in parts if part is not None for tensor in _tensors(part)]  # type: ignore[attr-defined]
