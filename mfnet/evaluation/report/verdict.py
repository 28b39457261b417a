"""What a run says, in two sentences."""

from __future__ import annotations

import pandas as pd

from mfnet.evaluation.methods.registry import MEAN_HEAD, MFNET, REFINED, label
from mfnet.evaluation.report.measurements import Measurements
from mfnet.evaluation.statistics.uncertainty import paired_difference, rows_of


def verdict(measurements: Measurements) -> str:
    """How MFNet and its refinement compare with the mean head in the wild set, with the differences' intervals."""
    wild = {name: rows_of([measurements.methods[name]], "wild") for name in (MFNET, REFINED, MEAN_HEAD)}
    means = {name: f"{tables[0]['cd_mm'].mean():.2f} mm" for name, tables in wild.items()}
    return (
        f"Over {len(wild[MFNET][0])} photographs {label(MFNET)} is {means[MFNET]} from the scans and the mean head, "
        f"placed by the same landmarks, {means[MEAN_HEAD]}: {label(MFNET)} is {_compared(wild, MFNET)}. "
        f"Refined by landmarks and optical flow it is {means[REFINED]} from them: {_compared(wild, REFINED)} than the "
        "mean head."
    )


def _compared(wild: dict[str, list[pd.DataFrame]], name: str) -> str:
    difference = paired_difference(wild[name], wild[MEAN_HEAD])
    if not difference.n_items:
        return "not comparable, for want of a photograph that both have a score for, and no nearer"
    text = f"{abs(difference.mean):.2f} mm {'nearer' if difference.mean < 0 else 'further'}"
    if difference.n_people == 1:
        return f"{text} (for one person)"
    chance = "" if difference.excludes_zero else ", perhaps by chance"
    return f"{text} (95 % interval {difference.low:+.2f} to {difference.high:+.2f}{chance})"
