"""The HTML report: one file with everything in it, which opens anywhere and asks nothing of the network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from structkd.visualization.curves import figures
from structkd.visualization.run import Run
from structkd.visualization.style import CSS
from structkd.visualization.tables import NONE, overview_table, provenance, seed_table, stage_table, stage_title
from structkd.visualization.verdicts import RULE, verdicts

CAPTIONS = {
    "scores": ("Scores", "Every stage on the same splits. Points are seeds, bars mean and standard deviation."),
    "differences": (
        "Paired differences",
        "Distilled student minus plain student (or teacher) of the same seed. Bars are 95 % intervals of the mean.",
    ),
    "curves": (
        "Learning curves",
        "Thin lines are seeds, thick ones their mean as far as all seeds go. Losses of different methods sum different "
        "terms: compare their shape, not their height.",
    ),
    "latency": (
        "Inference latency",
        "For one batch, part by part; what a graph network spends on fetching neighbours comes first.",
    ),
}


def render_report(runs: Sequence[Run]) -> tuple[str, dict[str, bytes]]:
    """The report on one or more work directories (with names that differ, as `read_runs` gives them).

    Returns:
        The page, and the figures in it as `<run>_<figure>.png` -> bytes.
    """
    title = runs[0].results["name"] if len(runs) == 1 else f"{len(runs)} experiments"
    images: dict[str, bytes] = {}
    sections = []
    for run in runs:
        drawn = figures(run)
        images |= {f"{run.name}_{figure}.png": png for figure, png in drawn.items()}
        sections.append(_section(run, drawn))
    overview = ""
    if len(runs) > 1:
        links = "".join(f'<li><a href="#{_escape(run.name)}">{_escape(run.results["name"])}</a></li>' for run in runs)
        overview = (
            f"<h1>{_escape(title)}</h1><ul>{links}</ul>"
            f"<div class=wide>{overview_table({run.name: run.results for run in runs}).html()}</div>"
            "<p class=note>In brackets: paired difference to the plain student, in percentage points.</p>"
        )
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{_escape(title)}</title><style>{CSS}</style></head>\n<body><main>{overview}{''.join(sections)}</main></body></html>\n"
    ), images


def _section(run: Run, drawn: Mapping[str, bytes]) -> str:
    results = run.results
    stages = list(results["stages"].values())
    table = stage_table(results).html([_escape(stage["role"]) for stage in stages])
    pictures = "".join(
        f"<h3>{CAPTIONS[figure][0]}</h3><p class=note>{CAPTIONS[figure][1]}</p>{_image(png, CAPTIONS[figure][0])}"
        for figure, png in drawn.items()
    )
    return f"""
<section id="{_escape(run.name)}">
<h1>{_escape(results["name"])}</h1>
<p class=lead>{_escape(provenance(results))}</p>
{_verdicts(results)}
<h2>Teacher, plain and distilled students</h2>
<div class=wide>{table}</div>
<p class=note>Mean ± standard deviation over seeds. "vs" columns: paired differences of the same seed, in percentage
points. Milliseconds: fetching of inputs plus computing, for one batch of that many elements.</p>
{pictures}
<h3>Seed by seed</h3>
<div class=wide>{seed_table(results).html()}</div>
{_stage_pictures(run)}
<h2>How it was made</h2>
{_facts(results)}
<details><summary>The exact config</summary><pre>{_escape(_json(results.get("config", {})))}</pre></details>
</section>"""


def _verdicts(results: Mapping[str, Any]) -> str:
    found = verdicts(results)
    if not found:
        return (
            "<p class=note>There is no distilled student with a plain one beside it, so no difference is claimed.</p>"
        )
    items = "".join(f"<li class={verdict.kind}>{_escape(verdict.text)}</li>" for verdict in found)
    return f"<ul class=verdicts>{items}</ul><p class=note>{_escape(RULE)}</p>"


def _facts(results: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in results.get("versions", {}).items() if number)
    facts = [
        ("Protocol", results.get("protocol")),
        ("Selection", results.get("selection")),
        ("Seeds", ", ".join(map(str, results["seeds"]))),
        ("Device", results.get("device")),
        ("Made", results.get("created")),
        ("Versions", versions),
    ]
    for stage in results["stages"].values():
        epochs, seconds = stage.get("epochs") or [], stage.get("seconds") or []
        if epochs and seconds:
            rounded = [round(value, 1) for value in seconds]
            facts.append((stage_title(stage), f"{_range(epochs)} epochs, {_range(rounded)} s a seed"))
    rows = "".join(f"<dt>{_escape(key)}</dt><dd>{_escape(value or NONE)}</dd>" for key, value in facts)
    return f"<dl>{rows}</dl>"


def _stage_pictures(run: Run) -> str:
    parts = []
    for stage, paths in run.figures.items():
        parts.append(f"<h3>{_escape(stage_title(run.results['stages'][stage]))}: drawn by the stage, first seed</h3>")
        parts += [_image(path.read_bytes(), path.stem) + f"<p class=note>{_escape(path.stem)}</p>" for path in paths]
    return "".join(parts)


def _image(png: bytes, alternative: str) -> str:
    return f'<img alt="{_escape(alternative)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _escape(text: Any) -> str:
    return html.escape(str(text), quote=True)
