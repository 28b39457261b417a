import hashlib
import os
from pathlib import Path

import pandas as pd
import pytest

from mfnet.data import digests
from mfnet.data.digests import digests_of


def of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for name in ("a", "b", "c"):
        (root / name).write_bytes(name.encode())
    return root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    real = digests._read

    def noted(paths: list[Path], root: Path) -> list[str]:
        names.extend(str(path) for path in paths)
        return real(paths, root)

    monkeypatch.setattr(digests, "_read", noted)
    return names


def test_only_what_has_changed_is_read_again(tree: Path, tmp_path: Path, read: list[str]) -> None:
    paths, memory = [Path("a"), Path("b"), Path("c")], tmp_path / "deep/memory.parquet"
    assert digests_of(tree, paths, memory) == [of(b"a"), of(b"b"), of(b"c")]
    assert read == ["a", "b", "c"]
    read.clear()
    assert digests_of(tree, paths, memory) == [of(b"a"), of(b"b"), of(b"c")]
    assert read == []
    # As long as before, and with the time at which the former one was written.
    times = (tree / "b").stat()
    (tree / "b").write_bytes(b"x")
    os.utime(tree / "b", ns=(times.st_atime_ns, times.st_mtime_ns))
    (tree / "d").write_bytes(b"d")
    assert digests_of(tree, [*paths[1:], Path("d")], memory) == [of(b"x"), of(b"c"), of(b"d")]
    assert read == ["b", "d"]


def test_another_tree_of_the_same_names_is_read(tree: Path, tmp_path: Path, read: list[str]) -> None:
    memory, other = tmp_path / "memory.parquet", tmp_path / "other"
    digests_of(tree, [Path("a")], memory)
    tree.rename(other)
    assert digests_of(other, [Path("a")], memory) == [of(b"a")]
    assert read == ["a", "a"]


@pytest.mark.parametrize("content", [b"", b"no Parquet", None])
def test_a_memory_that_cannot_be_read_is_none(tree: Path, tmp_path: Path, content: bytes | None) -> None:
    memory = tmp_path / "memory.parquet"
    if content is None:
        pd.DataFrame({"another": [1]}).to_parquet(memory)
    else:
        memory.write_bytes(content)
    assert digests_of(tree, [Path("a")], memory) == [of(b"a")]
    assert digests_of(tree, [Path("a")], memory) == [of(b"a")]


def test_without_a_memory_and_without_files(tree: Path) -> None:
    assert digests_of(tree, [Path("c"), Path("a")]) == [of(b"c"), of(b"a")]
    assert digests_of(tree, []) == []
