import threading
from pathlib import Path

import pytest

from mfnet.errors import UserError
from mfnet.parallel import made_beside, parallel_map


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


def test_the_next_result_is_made_while_this_one_is_worked_with() -> None:
    begun = [threading.Event() for _ in range(3)]

    def make(item: int) -> int:
        begun[item].set()
        return 10 * item

    for place, result in enumerate(made_beside(make, range(3))):
        assert result == 10 * place
        assert place == 2 or begun[place + 1].wait(5)
    assert list(made_beside(make, [])) == []


def test_an_error_beside_arrives_as_it_is() -> None:
    def make(item: int) -> int:
        raise UserError(f"item {item}")

    with pytest.raises(UserError, match=r"^item 7$"):
        list(made_beside(make, [7, 8]))
