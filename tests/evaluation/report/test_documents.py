"""Tables that are written into documents, and never typed."""

import re
from pathlib import Path

import pandas as pd
import pytest

from mfnet.errors import UserError
from mfnet.evaluation.report import documents

TEXT = "# A page\n\n<!-- table means -->\n\n| old |\n|---|\n\n<!-- end -->\n\nAfter.\n"


def test_a_block_holds_the_table_and_nothing_around_it_changes() -> None:
    filled = documents.fill(TEXT, {"means": "| new |\n|---|\n"}, "README.md")
    assert filled == TEXT.replace("| old |", "| new |")
    assert documents.fill(filled, {"means": "| new |\n|---|\n"}, "README.md") == filled


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT.replace("means", "other"), "no table 'other'"),
        (TEXT.replace("<!-- end -->", ""), "no <!-- end -->"),
        (TEXT.replace("<!-- end -->", "") + TEXT, "no <!-- end -->"),
    ],
)
def test_a_block_that_is_wrong_ends_in_one_line(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as raised:
        documents.fill(text, {"means": "| new |"}, "README.md")
    assert str(raised.value).startswith("README.md: ")


def test_shares_of_people_are_counted() -> None:
    people = pd.DataFrame({
        "female": [1.0, 0.0, 1.0, 1.0], "age": [18.0, 45.0, 80.0, 38.9], "african": [0.9, 0.1, 0.0, 0.0],
        "asian": [0.05, 0.8, 0.1, 0.2], "tone": [0.9, 0.5, 0.1, 0.2],
    })  # fmt: skip
    header, _, row = documents.people_shares({"a set": people}).splitlines()
    shares = dict(zip(header.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert shares == {
        "set": "a set", "people": "4", "women": "75%", "18-38 years": "50%", "39-59 years": "25%",
        "60-80 years": "25%", "african": "25%", "asian": "25%", "european": "50%", "light skin": "50%",
        "medium skin": "25%", "dark skin": "25%",
    }  # fmt: skip


def test_the_headline_is_what_was_measured_and_what_the_paper_prints() -> None:
    means = pd.DataFrame({"method": ["MFNet", "mean head"], "wild": ["3.10 [2.9, 3.3] of 9", "3.37 [3, 4] of 9"],
                          "lab, three views": ["4.00 of one person", "-"]})  # fmt: skip
    places = {"wild": "in the wild", "lab, three views": "lab, three views"}
    table = documents.headline(means, places).splitlines()
    assert table[0] == "|  | in the wild | lab, three views |"
    assert table[2:4] == [
        "| MFNet | 3.10 [2.9, 3.3] of 9 | 4.00 of one person |",
        "| mean head | 3.37 [3, 4] of 9 | - |",
    ]
    # The paper's bins are 3.98, 4.07, 3.60 and 5.25.
    assert table[4].endswith("| 4.22 | 4.89 |")


def test_no_table_of_the_runs_documents_is_typed() -> None:
    root = Path(__file__).parents[3]
    for name in ("README.md", "docs/results.md", "docs/results_tables.md"):
        written = (root / name).read_text()
        blocks = [block["table"] for block in documents._BLOCK.finditer(written)]
        assert all("|" in table for table in blocks), f"{name} has an empty table; run make tables"
        text = documents._BLOCK.sub("", written)
        assert not re.search(r"^\| *(MFNet|mean head|no multiop|oracle fit).*\d\.\d\d", text, re.MULTILINE), name
