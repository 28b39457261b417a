import pandas as pd

from mfnet.config import VARIANTS
from mfnet.data.facescape import BINS
from mfnet.evaluation.baselines import BASELINES
from mfnet.evaluation.page import Section, build_page, differences_section
from mfnet.evaluation.tables import (
    FILES,
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
    focal, angle = (dict.fromkeys(names, values) for names in (("1200", "600", "300"), ("0", "30", "60")))
    groups = {"by_focal": focal, "by_angle": angle}
    return {"wild": dict.fromkeys(BINS, values), "lab": dict.fromkeys(("single_view", "three_view"), values | groups)}


ALL = {name: metrics(2.0 + index) for index, name in enumerate([*VARIANTS, *BASELINES])}
ALL["mean_head"]["lab"].pop("three_view")
ALL["oracle_fit"] = metrics(0.5)
ALL["oracle_fit"]["lab"].pop("three_view")
for name, cd in (("oracle_fit", 0.4), ("landmark_fit", 0.6)):
    ALL[name]["lab"]["single_view_own_size"] = metrics(cd)["lab"]["single_view"]


def test_published_rows_are_the_papers_and_those_of_facescapes_files() -> None:
    known = published()
    counts = known.groupby(["source", "table"])["method"].nunique()
    assert counts.to_dict() == {("paper", 1): 15, ("paper", 2): 10, ("paper", 3): 6} | {
        ("files", table): 14 for table in (1, 2, 4)}  # fmt: skip
    printed = known[known["source"] == "paper"]
    ours = printed[(printed["table"] == 2) & (printed["method"] == "MFNet")].iloc[0]
    assert (ours["cd_mm"], ours["mne_rad"], ours["completeness"]) == (4.89, 0.14, 0.99)
    row = printed[(printed["table"] == 3) & (printed["method"] == "no_eye") & (printed["setting"] == "5-30")].iloc[0]
    assert row["cd_mm"] == 423


def test_every_table_has_its_sources() -> None:
    tables = build_tables(ALL, list(VARIANTS))
    assert [table.number for table in tables] == [1, 2, 3, 4]
    of_lab = {MEASURED, MEASURED + ", own size", FITTED, FITTED + ", own size", FILES}
    sources = [{MEASURED, FITTED, PUBLISHED, FILES}, of_lab | {PUBLISHED}, {MEASURED, PUBLISHED}, of_lab]
    assert [set(table.rows["source"]) for table in tables] == sources
    assert len(tables[3].rows.columns) == 2 + 6 * 4
    measured = tables[2].rows[tables[2].rows["source"] == MEASURED]
    assert measured["method"].tolist() == ["- multiop", "- singlelmk", "- eye", "- lip", "- reg", "MFNet"]
    assert tables[1].rows["method"].tolist()[:8] == [
        "MFNet, three views", "MFNet, one view", "mean head, one view", "landmark fit, three views",
        "landmark fit, one view", "oracle fit", "landmark fit, one view", "oracle fit"]  # fmt: skip


def test_whichever_variant_is_first_is_the_tables_mfnet() -> None:
    found = {name: ALL[name] for name in ("no_eye", "full", *BASELINES)} | {"refined": ALL["full"]}
    for variants in (["no_eye"], ["no_eye", "full"]):
        for table in build_tables(found, variants)[:2]:
            names = table.rows["method"][table.rows["source"] == MEASURED].tolist()
            assert names[0].startswith("MFNet - eye")
            assert any(name.startswith("MFNet - eye, refined") for name in names)
            assert not any(name == "MFNet" or name.startswith("MFNet,") for name in names)


def test_captions_say_how_many_trainings_a_figure_is_a_mean_of() -> None:
    assert not any("trainings" in table.caption for table in build_tables(ALL, list(VARIANTS)))
    assert all("over 3 trainings" in table.caption for table in build_tables(ALL, list(VARIANTS), 3))


def test_a_mean_over_fewer_items_says_so_and_is_the_best_only_of_nearly_all() -> None:
    found = ALL | {"mean_head": metrics(1.0)}
    for share, expected in (
        (0.9, "1.00 (90%)"), (0.97, "**1.00 (97%)**"), (0.998, "**1.00 (99%)**"), (1.0, "**1.00**"),
    ):  # fmt: skip
        found["mean_head"]["wild"] = dict.fromkeys(BINS, metrics(1.0)["wild"]["0-5"] | {"done_rate": share})
        text = formatted(build_tables(found, list(VARIANTS))[0])
        assert text["0-5 CD"][text["method"] == "mean head"].item() == expected
    lab = formatted(build_tables(found, list(VARIANTS))[3])
    assert lab["0 deg CD"][(lab["source"] == FILES) & (lab["method"] == "UDL")].item() == "**2.21**"
    files = text[text["source"] == FILES].set_index("method")
    assert files["60-90 CD"]["DF2Net"] == "21.27 (3%)"
    assert files["5-30 CD"]["UDL"] == "**2.50 (99%)**"
    assert "%" not in files["5-30 CD"]["DECA"]


def test_best_is_marked_within_its_source_only() -> None:
    text = formatted(build_tables(ALL, list(VARIANTS))[1])
    column = text["CD"]
    assert column[text["method"] == "MFNet, three views"].iloc[0] == "**2.00**"
    best = text[(text["source"] == PUBLISHED) & column.str.startswith("**")]
    assert best["method"].tolist() == ["MFNet"]


def test_markdown_and_page_hold_every_row_and_no_link() -> None:
    tables = build_tables(ALL, list(VARIANTS))
    assert not any(cell == "nan" for table in tables for cell in formatted(table).to_numpy().ravel())
    for table in tables:
        assert to_markdown(table).count("\n| ") == len(table.rows) + 1
    differences = pd.DataFrame({"method": ["no_eye"], "wild": ["+0.10 [-0.10, 0.30] of 40, undecided"]})
    worst = Section("Worst", pd.DataFrame({"stem": ["007"], "CD": [9.5]}), "note")
    sections = [differences_section(differences, "full"), worst]
    page = build_page(tables, sections, [], ('<p>it\'s "quoted"</p>', "what it is"), {"fact": "1 < 2"}, ["note"])
    assert page.count("<tr") == sum(len(table.rows) + 1 for table in tables) + 1 + 2 + 2
    assert "<td>007</td><td>9.5</td>" in page
    assert "undecided" in page
    assert "http" not in page
    assert "1 &lt; 2" in page
    assert "what it is" in page


def test_the_oracle_is_shown_and_not_ranked() -> None:
    for table in build_tables(ALL, list(VARIANTS))[:2]:
        text = formatted(table).astype(str).set_index("method")
        oracle, ours = (text[text.index.str.startswith(name)] for name in ("oracle fit", "MFNet"))
        assert not oracle.apply(lambda column: column.str.contains("[*]")).any(axis=None)
        assert oracle["source"].ne("measured here").all()
        measured = ours[ours["source"] == "measured here"]
        assert measured.apply(lambda column: column.str.contains("[*]")).any(axis=None)


def test_worst_images_are_the_failed_ones_and_then_those_of_the_largest_distance() -> None:
    scores = {"cd_mm": [1.0, None, 5.0, 3.0], "mne_rad": 0.1, "completeness": 1.0, "failure": [None, "no face", "", ""]}
    per_image = pd.DataFrame({"setting": "wild", "stem": list("abcd"), "person": list("abcd")} | scores)
    worst = worst_images(per_image, 3)
    assert worst["stem"].tolist() == ["b", "c", "d"]
    assert worst["failure"].tolist() == ["no face", "", ""]


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
