import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mfnet.data.facescape import BINS
from mfnet.errors import UserError
from mfnet.evaluation.methods.registry import METHODS, ONE_VIEW
from mfnet.evaluation.report.measurements import Measurements
from mfnet.evaluation.report.page import Section, build_page, numbered_table, table_of
from mfnet.evaluation.report.tables import (
    FILES,
    FITTED,
    MEASURED,
    PUBLISHED,
    build_tables,
    formatted,
    published,
    to_markdown,
    worst_images,
)
from mfnet.evaluation.report.verdict import verdict
from mfnet.loss_terms import VARIANTS


def scores(cd: float, settings: tuple[str, ...], done: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """A hundred photographs of a hundred people in the wild, and ten of the lab, all about as far from the scan."""
    noise = np.random.default_rng(seed).normal(0, 0.1, 110)
    wild = [
        {"setting": "wild", "stem": f"{k:03d}", "person": f"{k:03d}", "bin": BINS[k % 4],
         "cd_mm": cd + noise[k] if k >= 100 * (1 - done) else np.nan}
        for k in range(100)
    ]  # fmt: skip
    lab = [
        {"setting": setting, "stem": f"{k}_0_00", "person": f"{k}", "focal": 1200, "view": k, "cd_mm": cd + noise[k]}
        for setting in settings
        for k in range(10)
    ]
    return pd.DataFrame(wild + lab).assign(mne_rad=0.1, completeness=0.9, failure="", angle=0.0)


def settings_of(name: str) -> tuple[str, ...]:
    views = ("single_view",) if name in ONE_VIEW else ("three_view", "single_view")
    return tuple(view + own for view in views for own in ("", "_own_size"))


def measured(seeds: int = 1, **changed: pd.DataFrame) -> Measurements:
    methods = {name: scores(2.0 + k, settings_of(name)) for k, name in enumerate(METHODS)} | changed
    ablation = {name: [scores(2.0 + k, ()) for _ in range(seeds)] for k, name in enumerate(VARIANTS)}
    errors = dict.fromkeys(("mfnet", *VARIANTS), 0.05)
    attribution = pd.DataFrame({"what": ["as it is"], "cd_mm": [2.0]})
    return Measurements(methods, ablation, errors, {"mean": {"nme_percent": 4.0, "n": 3}}, attribution)


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


def test_every_table_has_its_sources_and_one_name_for_a_method() -> None:
    tables = build_tables(measured(), {})
    assert [table.number for table in tables] == [1, 2, 3, 4]
    of_lab = {MEASURED, MEASURED + ", own size", FITTED, FITTED + ", own size", FILES}
    sources = [{MEASURED, FITTED, PUBLISHED, FILES}, of_lab | {PUBLISHED}, {MEASURED, PUBLISHED}, of_lab]
    assert [set(table.rows["source"]) for table in tables] == sources
    assert len(tables[3].rows.columns) == 2 + 6 * 4
    ablation = tables[2].rows[tables[2].rows["source"] == MEASURED]
    assert ablation["method"].tolist() == ["no multiop", "no singlelmk", "no eye", "no lip", "no reg", "full"]
    assert tables[1].rows["method"].tolist()[:8] == [
        "MFNet, three views", "MFNet, one view", "refined, three views", "refined, one view", "mean head",
        "landmark fit, three views", "landmark fit, one view", "oracle fit"]  # fmt: skip
    assert "3DDFA_V2" in tables[0].rows["method"].tolist()


def test_the_ablations_caption_says_how_often_it_was_trained_and_with_which_other_weights() -> None:
    assert "trainings" not in build_tables(measured(), {})[2].caption
    caption = build_tables(measured(seeds=3), {"eye": (1.0, 0.0)})[2].caption
    assert "means over 3 trainings" in caption
    assert caption.endswith("its loss is other than MFNet's: eye 1.0 for 0.0")


def test_what_is_better_by_more_than_chance_is_bold_and_nothing_else() -> None:
    text = formatted(build_tables(measured(), {})[0])
    bold = text[text["0-5 CD"].str.startswith("**")]
    assert bold[["source", "method"]].to_numpy().tolist() == [[MEASURED, "MFNet"]]
    # Two that cannot be told apart, and published figures, of which no interval is known.
    alike = measured(refined=scores(2.0, settings_of("refined"), seed=1))
    wild = formatted(build_tables(alike, {})[0])
    assert not wild.astype(str).apply(lambda column: column.str.contains("[*]")).any(axis=None)
    few = formatted(build_tables(measured(mfnet=scores(2.0, settings_of("mfnet"), done=0.9)), {})[0])
    assert not few["0-5 CD"].str.startswith("**")[0]


def test_a_mean_over_fewer_items_says_so() -> None:
    wild = formatted(build_tables(measured(mfnet=scores(2.0, settings_of("mfnet"), done=0.9)), {})[0])
    assert wild["0-5 CD"][0].endswith("(88%)")
    files = wild[wild["source"] == FILES].set_index("method")
    assert files["60-90 CD"]["DF2Net"] == "21.27 (3%)"
    assert files["5-30 CD"]["UDL"] == "2.50 (99%)"
    assert "%" not in files["5-30 CD"]["DECA"]


def test_markdown_and_page_hold_every_row_and_no_link() -> None:
    tables = build_tables(measured(), {})
    assert not any(cell == "nan" for table in tables for cell in formatted(table).to_numpy().ravel())
    for table in tables:
        assert to_markdown(table).count("\n| ") == len(table.rows) + 1
    worst = pd.DataFrame({"stem": ["007"], "CD": [9.5]})
    sections = [Section("Tables", "".join(map(numbered_table, tables))), Section("a < b", table_of(worst, "1 < 2"))]
    main = pd.DataFrame({"": ["MFNet"], "wild": ["2.00"]})
    page = build_page("What it says.", "<p>pictures</p>", main, sections, "<script>run()</script>", "where from")
    assert page.count("<tr") == sum(len(table.rows) + 1 for table in tables) + 2 + 2
    assert page.index("What it says.") < page.index("pictures") < page.index("MFNet</td>") < page.index("<details>")
    assert "<td>007</td><td>9.5</td>" in page
    assert "http" not in page
    assert "1 &lt; 2" in page
    assert "a &lt; b" in page


def test_the_verdict_is_two_sentences_with_their_intervals() -> None:
    nearer, alike = measured(), measured(mfnet=scores(4.0, settings_of("mfnet")))
    text = verdict(nearer)
    assert text.count(". ") == 1
    assert "MFNet is 2.00 mm nearer (95 % interval -2.00 to -2.00)" in text
    assert "perhaps by chance" in verdict(alike)


def test_worst_images_are_the_failed_ones_and_then_those_of_the_largest_distance() -> None:
    figures = {"cd_mm": [1.0, None, 5.0, 3.0], "mne_rad": 0.1, "completeness": 1.0}
    why = {"failure": [None, "no face", "", ""]}
    per_image = pd.DataFrame({"setting": "wild", "stem": list("abcd"), "person": list("abcd")} | figures | why)
    worst = worst_images(per_image, 3)
    assert worst["stem"].tolist() == ["b", "c", "d"]
    assert worst["failure"].tolist() == ["no face", "", ""]


def test_scores_hold_every_method_and_the_ablation_apart() -> None:
    table = measured().as_scores()
    assert list(table) == [*METHODS, "ablation"]
    assert table["mfnet"]["landmark_error"] == 0.05
    assert table["mfnet"]["wild"]["0-5"]["cd_mm"] == pytest.approx(2.0, abs=0.1)
    assert list(table["ablation"]) == list(VARIANTS)
    json.dumps(table, allow_nan=False)


def test_missing_values_show_as_a_dash() -> None:
    table = build_tables(measured(), {})[1]
    rows = table.rows.copy()
    rows.loc[0, "cd_mm"] = None
    assert formatted(table._replace(rows=pd.DataFrame(rows)))["CD"][0].strip("*") == "-"


def test_a_run_that_is_not_complete_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"per_image/mfnet\.csv is missing; run its evaluate stage"):
        Measurements.read(tmp_path, ["full"], [0])
