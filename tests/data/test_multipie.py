import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfnet.data.index import build_index
from mfnet.data.multipie import CAMERA_YAW, Photograph, parse
from mfnet.errors import UserError


@given(
    st.builds(
        Photograph, st.integers(1, 346), st.integers(1, 4), st.integers(1, 3), st.sampled_from(sorted(CAMERA_YAW)),
        st.integers(0, 19),
    )
)  # fmt: skip
def test_a_photographs_path_parses_back(photograph: Photograph) -> None:
    assert parse(photograph.path) == photograph


def test_the_example_of_the_data_sets_own_documentation() -> None:
    path = Path("session02/multiview/108/01/05_1/108_02_01_051_17.png")
    assert parse(path) == Photograph(108, 2, 1, "05_1", 17)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("session01/multiview/001/01/05_1/photo.png", r"is not SSS_SS"),
        ("session01/multiview/001/01/05_1/001_01_01_999_00.png", "camera 99_9"),
        ("session01/multiview/001/01/05_1/001_01_01_051_20.png", "illumination 20"),
        ("session01/multiview/001/01/05_1/002_01_01_051_00.png", "does not belong"),
    ],
)
def test_a_bad_name_is_explained_not_guessed(name: str, reason: str) -> None:
    found = parse(Path(name))
    assert isinstance(found, str)
    assert re.search(reason, found)


def test_index_lists_every_file_and_the_bad_names(tmp_path: Path) -> None:
    good = Photograph(3, 1, 2, "04_1", 7)
    for path in (good.path, good.path.with_name("copy.png"), Path("meta/portrait.png")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    index = build_index(tmp_path)
    assert len(index) == 2
    row = index[index["problem"].isna()].iloc[0]
    assert (row["subject"], row["recording"], row["camera"]) == (3, 2, "04_1")
    assert index["problem"].notna().sum() == 1
    pd.testing.assert_frame_equal(index, build_index(tmp_path))


def test_missing_folder_and_empty_tree_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        build_index(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no photograph in"):
        build_index(tmp_path)
