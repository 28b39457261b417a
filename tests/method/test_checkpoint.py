import zipfile
from pathlib import Path

import pytest
import torch

from mfnet.method.checkpoint import Checkpoint


def as_if_written_on_a_gpu(path: Path) -> None:
    """Let a file's tensors say that they lay on a GPU."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            cpu, cuda = (b"X" + len(at).to_bytes(4, "little") + at for at in (b"cpu", b"cuda:0"))
            archive.writestr(name, content.replace(cpu, cuda) if name.endswith("data.pkl") else content)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it could be read as it is")
def test_a_checkpoint_from_a_gpu_is_gone_on_from_without_one(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    Checkpoint(tmp_path, "key").save(network, optimizer, 5, [(5, {"loss": 1.0})])
    as_if_written_on_a_gpu(tmp_path / "checkpoint.pt")
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    other = torch.nn.Linear(2, 3)
    restored = Checkpoint(tmp_path, "key").restore(other, torch.optim.Adam(other.parameters()))
    assert restored == (5, [(5, {"loss": 1.0})])
    torch.testing.assert_close(other.weight, network.weight)
