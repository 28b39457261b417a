import io
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mfnet.method.checkpoint import Checkpoint, _digest, remove_checkpoints


class Training:
    """A network and its optimiser, some steps along."""

    def __init__(self, steps: int = 0) -> None:
        torch.manual_seed(0)
        self.network = torch.nn.Linear(2, 3)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        for _ in range(steps):
            self.network(torch.ones(1, 2)).sum().backward()
            self.optimizer.step()

    def save(self, folder: Path, step: int, key: str = "key") -> None:
        Checkpoint(folder, key).save(self.network, self.optimizer, step, [(step, {"loss": 1.0})])

    def restore(self, folder: Path, key: str = "key") -> tuple[int, list]:  # type: ignore[type-arg]
        return Checkpoint(folder, key).restore(self.network, self.optimizer)


def as_if_written_on_a_gpu(path: Path) -> bytes:
    """Let a file's tensors say that they lay on a GPU; gives what torch wrote."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes()[32:])) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            cpu, cuda = (b"X" + len(at).to_bytes(4, "little") + at for at in (b"cpu", b"cuda:0"))
            archive.writestr(name, part.replace(cpu, cuda) if name.endswith("data.pkl") else part)
    path.write_bytes(_digest(content.getvalue()) + content.getvalue())
    return content.getvalue()


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it could be read as it is")
def test_a_checkpoint_from_a_gpu_is_gone_on_from_without_one(tmp_path: Path) -> None:
    trained, other = Training(1), Training()
    trained.save(tmp_path, 5)
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(io.BytesIO(as_if_written_on_a_gpu(tmp_path / "checkpoint.pt")), weights_only=True)
    assert other.restore(tmp_path) == (5, [(5, {"loss": 1.0})])
    torch.testing.assert_close(other.network.weight, trained.network.weight)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    checkpoint = Checkpoint(folder, "key")
    for steps in (1, 2):
        training = Training(steps)
        checkpoint.save(training.network, training.optimizer, 5 * steps, [(5 * steps, {"loss": 1.0})])
    return folder


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_of_a_damaged_one_nothing_is_taken_but_the_one_before_it(two: Path, data: st.DataObject) -> None:
    path, whole = two / "checkpoint.pt", (two / "checkpoint.pt").read_bytes()
    damage = data.draw(st.sampled_from(["cut", "flipped"]))
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:place] + bytes([whole[place] ^ 1 << data.draw(st.integers(0, 7))]) + whole[place + 1 :]
    path.write_bytes(whole[:place] if damage == "cut" else flipped)
    try:
        restored = Training()
        assert restored.restore(two)[0] == 5
        torch.testing.assert_close(restored.network.weight, Training(1).network.weight)
    finally:
        path.write_bytes(whole)


def test_the_damaged_one_is_named(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((two / "checkpoint.pt").read_bytes()[:-1])
    assert Training().restore(tmp_path) == (0, [])
    assert f"{tmp_path}/checkpoint.pt is damaged" in capsys.readouterr().err


def test_the_last_two_are_kept_and_at_the_end_none(tmp_path: Path) -> None:
    checkpoint, training = Checkpoint(tmp_path, "key"), Training()
    for step in (1, 2, 3):
        checkpoint.save(training.network, training.optimizer, step, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "checkpoint_before.pt"]
    assert Training().restore(tmp_path)[0] == 3
    (tmp_path / "checkpoint.pt").unlink()
    assert Training().restore(tmp_path)[0] == 2
    remove_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_of_another_key_is_left_alone(two: Path) -> None:
    assert Training().restore(two, "another") == (0, [])


def test_a_damaged_one_does_not_take_the_place_of_the_one_before_it(two: Path, tmp_path: Path) -> None:
    for path in two.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    checkpoint, training = Checkpoint(tmp_path, "key"), Training()
    assert checkpoint.restore(training.network, training.optimizer)[0] == 5
    checkpoint.save(training.network, training.optimizer, 6, [])
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    assert Training().restore(tmp_path)[0] == 5
