"""Does a method help? Said from the paired differences, seed by seed, and said as plainly when it does not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

#: How verdicts are reached, for the reader of a report.
RULE = (
    "A method is said to help (or hurt) when the 95 % interval of its mean paired difference to the plain student, "
    "by Student's t over seeds, lies above (or below) zero; otherwise no clear difference is claimed."
)


@dataclass(frozen=True)
class Verdict:
    """What the paired differences of one stage to the plain student say.

    Attributes:
        stage: name of the stage.
        kind: "helps", "hurts", "unclear", or "open" when one seed cannot tell.
        text: one sentence, in percentage points.
    """

    stage: str
    kind: Literal["helps", "hurts", "unclear", "open"]
    text: str


def interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean by Student's t; None for fewer than two values."""
    count = len(differences)
    if count < 2:
        return None
    from scipy.stats import t

    mean = statistics.fmean(differences)
    half = float(t.ppf(0.975, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return mean - half, mean + half


def verdicts(results: Mapping[str, Any]) -> list[Verdict]:
    """One verdict for each stage with paired differences to the plain student, on the primary metric."""
    found = []
    for stage, against in results.get("paired", {}).items():
        entry = against.get("plain", {}).get(results["primary_metric"])
        values = [value for value in (entry or {}).get("values", ()) if value is not None]
        if values:
            found.append(_verdict(stage, results["stages"][stage]["title"], values))
    return found


def _verdict(stage: str, title: str, values: Sequence[float]) -> Verdict:
    points = [100 * value for value in values]
    mean, better = statistics.fmean(points), sum(value > 0 for value in points)
    bounds = interval(points)
    change = f"{mean:+.2f} points against the plain student"
    if bounds is None:
        return Verdict(stage, "open", f"{title}: {change}, from one seed, which shows no spread: run several.")
    seeds = f"better in {better} of {len(points)} seeds, 95 % interval {bounds[0]:+.2f} to {bounds[1]:+.2f}"
    if bounds[0] > 0:
        return Verdict(stage, "helps", f"{title} helps: {change} ({seeds}).")
    if bounds[1] < 0:
        return Verdict(stage, "hurts", f"{title} does not help, it hurts: {change} ({seeds}).")
    return Verdict(stage, "unclear", f"{title} shows no clear difference: {change} ({seeds}).")
