from pathlib import Path

import pytest

from mfnet.parallel import parallel_map


def test_the_pool_follows_the_caller_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "content").write_text(name)
        monkeypatch.chdir(folder)
        assert parallel_map(Path.read_text, [Path("content")] * 3, "read", workers=2) == [name] * 3


def test_results_come_in_the_order_of_the_items_whatever_the_workers() -> None:
    for workers in (1, 2):
        assert parallel_map(abs, [-3, 1, -2], "abs", workers) == [3, 1, 2]
