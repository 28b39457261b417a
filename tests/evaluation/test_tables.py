import pandas as pd

from mfnet.config import VARIANTS
from mfnet.data.facescape import BINS
from mfnet.evaluation.page import Section, build_page, differences_section
from mfnet.evaluation.tables import (
    BASELINES,
    FITTED,
    MEASURED,
    PUBLISHED,
    build_tables,
    formatted,
    merged_metrics,
    published,
    to_markdown,
    worst_images,
)


def metrics(cd: float) -> dict:  # type: ignore[type-arg]
    values = {"cd_mm": cd, "mne_rad": 0.1, "completeness": 0.9, "n": 3, "done_rate": 1.0}
    return {"wild": dict.fromkeys(BINS, values), "lab": dict.fromkeys(("single_view", "three_view"), values)}


ALL = {name: metrics(2.0 + index) for index, name in enumerate([*VARIANTS, *BASELINES])}
ALL["mean_head"]["lab"].pop("three_view")
ALL["oracle_fit"] = metrics(0.5)
ALL["oracle_fit"]["lab"].pop("three_view")


def test_published_rows_are_the_papers() -> None:
    printed = published()
    assert printed.groupby("table")["method"].nunique().to_dict() == {1: 15, 2: 10, 3: 6}
    ours = printed[(printed["table"] == 2) & (printed["method"] == "MFNet")].iloc[0]
    assert (ours["cd_mm"], ours["mne_rad"], ours["completeness"]) == (4.89, 0.14, 0.99)
    row = printed[(printed["table"] == 3) & (printed["method"] == "no_eye") & (printed["setting"] == "5-30")].iloc[0]
    assert row["cd_mm"] == 423


def test_three_tables_with_both_sources() -> None:
    tables = build_tables(ALL, list(VARIANTS))
    assert [table.number for table in tables] == [1, 2, 3]
    for table in tables:
        assert set(table.rows["source"]) == {MEASURED, PUBLISHED} | ({FITTED} if table.number < 3 else set())
    measured = tables[2].rows[tables[2].rows["source"] == MEASURED]
    assert measured["method"].tolist() == ["- multiop", "- singlelmk", "- eye", "- lip", "- reg", "MFNet"]
    assert tables[1].rows["method"].tolist()[:6] == [
        "MFNet, three views", "MFNet, one view", "mean head, one view", "landmark fit, three views",
        "landmark fit, one view", "oracle fit"]  # fmt: skip


def test_captions_say_how_many_trainings_a_figure_is_a_mean_of() -> None:
    assert not any("trainings" in table.caption for table in build_tables(ALL, list(VARIANTS)))
    assert all("over 3 trainings" in table.caption for table in build_tables(ALL, list(VARIANTS), 3))


def test_best_is_marked_within_its_source_only() -> None:
    text = formatted(build_tables(ALL, list(VARIANTS))[1])
    column = text["CD"]
    assert column[text["method"] == "MFNet, three views"].iloc[0] == "**2.00**"
    best = text[(text["source"] == PUBLISHED) & column.str.startswith("**")]
    assert best["method"].tolist() == ["MFNet"]


def test_markdown_and_page_hold_every_row_and_no_link() -> None:
    tables = build_tables(ALL, list(VARIANTS))
    for table in tables:
        assert to_markdown(table).count("\n| ") == len(table.rows) + 1
    differences = pd.DataFrame({"method": ["no_eye"], "wild": ["+0.10 [-0.10, 0.30] of 40, undecided"]})
    worst = Section("Worst", pd.DataFrame({"stem": ["007"], "CD": [9.5]}), "note")
    sections = [differences_section(differences, "full"), worst]
    page = build_page(tables, sections, [], '<p>it\'s "quoted"</p>', {"fact": "1 < 2"}, ["note"])
    assert page.count("<tr") == sum(len(table.rows) + 1 for table in tables) + 1 + 2 + 2
    assert "<td>007</td><td>9.5</td>" in page
    assert "undecided" in page
    assert "http" not in page
    assert "1 &lt; 2" in page


def test_the_oracle_is_shown_and_not_ranked() -> None:
    for table in build_tables(ALL, list(VARIANTS))[:2]:
        text = formatted(table).astype(str).set_index("method")
        oracle, ours = (text[text.index.str.startswith(name)] for name in ("oracle fit", "MFNet"))
        assert not oracle.apply(lambda column: column.str.contains("[*]")).any(axis=None)
        assert oracle["source"].ne("measured here").all()
        measured = ours[ours["source"] == "measured here"]
        assert measured.apply(lambda column: column.str.contains("[*]")).any(axis=None)


def test_worst_images_are_the_failed_ones_and_then_those_of_the_largest_distance() -> None:
    scores = {"cd_mm": [1.0, None, 5.0, 3.0], "mne_rad": 0.1, "completeness": 1.0}
    per_image = pd.DataFrame({"setting": "wild", "stem": list("abcd"), "person": list("abcd")} | scores)
    assert worst_images(per_image, 3)["stem"].tolist() == ["b", "c", "d"]


def test_merged_metrics_follow_the_contract() -> None:
    merged = merged_metrics(ALL, list(VARIANTS))
    assert list(merged) == [*VARIANTS, "baselines"]
    assert list(merged["baselines"]) == ["mean_head", "landmark_fit", "oracle_fit"]
    assert merged["full"]["wild"]["0-5"]["cd_mm"] == 2.0


def test_missing_values_show_as_a_dash() -> None:
    table = build_tables(ALL, list(VARIANTS))[1]
    rows = table.rows.copy()
    rows.loc[0, "cd_mm"] = None
    assert formatted(table._replace(rows=pd.DataFrame(rows)))["CD"][0] == "-"
