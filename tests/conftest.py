import os

import numpy as np
import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")

from mfnet.head import HeadModel, procedural_head


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that makes the small pipeline first, those that need it last: workers then wait least for it."""
    items.sort(key=lambda item: 0 if item.path.stem == "test_repro" else 1 + (item.path.parent.name == "pipeline"))


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> HeadModel:
    """The procedural head, through its file, so that every test sees what a stage would."""
    path = tmp_path_factory.mktemp("head") / "head.npz"
    procedural_head(0).save(path)
    return HeadModel.load(path)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
