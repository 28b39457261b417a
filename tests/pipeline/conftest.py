import pytest
from filelock import FileLock
from scratch_clone import Clone


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Clone:
    """A clone in which everything has been made; shared by pytest's workers, so never to be changed."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    folder, made = shared / "base", shared / "base.made"
    with FileLock(shared / "base.lock"):
        if not made.exists():
            assert not folder.exists(), "another worker could not make it"
            clone = Clone.of_working_tree(folder)
            done = clone.run("dvc", "repro")
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
            # As data/README.md says: what experiments are compared with.
            clone.commit("Keep the last complete run")
            made.touch()
    return Clone(folder)


@pytest.fixture(scope="module")
def clone(base: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A copy of the base for one file of tests."""
    return base.copy(tmp_path_factory.mktemp("clone") / "mfnet")
