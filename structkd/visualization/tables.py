"""Result tables: one content, three forms (terminal, Markdown, HTML)."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from structkd.errors import DataError
from structkd.visualization.verdicts import verdicts

NONE = "–"


@dataclass(frozen=True)
class Table:
    """Cells as text. The first `left` columns are words, the others numbers, aligned to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 2

    def text(self) -> str:
        """Aligned columns in ASCII, which every terminal and log can show."""
        cells = [[cell.replace("±", "+-").replace(NONE, "-") for cell in row] for row in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = [
            "  ".join(
                cell.ljust(width) if index < self.left else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths))
            ).rstrip()
            for row in cells
        ]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

    def markdown(self) -> str:
        """A GitHub table."""
        ruler = ["---" if index < self.left else "---:" for index in range(len(self.columns))]
        rows = [[cell.replace("|", "\\|") for cell in row] for row in (self.columns, *self.rows)]
        return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], ruler, *rows[1:]))

    def html(self, row_classes: Sequence[str] = ()) -> str:
        """A `<table>`; `row_classes` gives a CSS class for each row."""

        def line(tag: str, row: Sequence[str], css: str = "") -> str:
            cells = (
                f"<{tag}{'' if index < self.left else ' class=number'}>{html.escape(cell)}</{tag}>"
                for index, cell in enumerate(row)
            )
            return f"<tr{f' class={css}' if css else ''}>{''.join(cells)}</tr>"

        classes = row_classes or [""] * len(self.rows)
        body = "".join(line("td", row, css) for row, css in zip(self.rows, classes))
        return f"<table><thead>{line('th', self.columns)}</thead><tbody>{body}</tbody></table>"


def metric_names(results: Mapping[str, Any]) -> list[str]:
    """Metrics to show, the primary one first; not validation scores, which served the selection, nor details."""
    primary = results["primary_metric"]
    names = {
        name
        for stage in results["stages"].values()
        for name in stage["metrics"]
        if not name.startswith(("val/", "detail/"))
    }
    return [primary, *sorted(names - {primary})]


def stage_table(results: Mapping[str, Any]) -> Table:
    """Teacher, plain and distilled students of one experiment: scores, paired differences, size, latency.

    Stages whose networks are equal (class, parameters, MACs) show the least latency of them: what other work on the
    machine added to one of them says nothing about its method.
    """
    metrics = metric_names(results)
    primary = metrics[0]
    stages, paired = results["stages"], results.get("paired", {})
    batches = sorted({size for stage in stages.values() for size in stage.get("latency_ms") or {}}, key=int)
    counted = any(stage.get("macs") is not None for stage in stages.values())
    latency = {size: _latencies(stages, size) for size in batches}
    rows = []
    for name, stage in stages.items():
        against = paired.get(name, {})
        rows.append(
            (
                stage_title(stage),
                _role(stage),
                *(score(stage["metrics"].get(metric)) for metric in metrics),
                difference(against.get("plain", {}).get(primary)),
                difference(against.get("teacher", {}).get(primary)),
                f"{stage['parameters']:,}" if stage.get("parameters") is not None else NONE,
                *((_giga(stage.get("macs")),) if counted else ()),
                *(_milliseconds(latency[size].get(name)) for size in batches),
            )
        )
    columns = (
        "Model",
        "Role",
        *(_heading(metric, results) for metric in metrics),
        "vs plain",
        "vs teacher",
        "Parameters",
        *(("GMAC",) if counted else ()),
        *(f"ms for {size}" for size in batches),
    )
    return Table(columns, tuple(rows))


def seed_table(results: Mapping[str, Any]) -> Table:
    """The primary metric of every stage for every seed."""
    primary = results["primary_metric"]
    rows = []
    for stage in results["stages"].values():
        values = stage["metrics"].get(primary, {}).get("values", [None] * len(results["seeds"]))
        rows.append((stage_title(stage), *(_number(value) for value in values)))
    return Table(("Model", *(f"seed {seed}" for seed in results["seeds"])), tuple(rows), left=1)


def overview_table(experiments: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a model, one column an experiment; students with their mean paired difference to the plain student."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for experiment, results in experiments.items():
        primary = results["primary_metric"]
        for name, stage in results["stages"].items():
            if stage["role"] == "auxiliary":
                continue
            gain = results.get("paired", {}).get(name, {}).get("plain", {}).get(primary)
            text = score(stage["metrics"].get(primary)) + (f" ({100 * gain['mean']:+.2f})" if _known(gain) else "")
            cells.setdefault((stage_title(stage), _role(stage)), {})[experiment] = text
    rows = tuple((*key, *(row.get(experiment, NONE) for experiment in experiments)) for key, row in cells.items())
    return Table(("Model", "Role", *experiments), rows)


def summary_table(results: Mapping[str, Any]) -> str:
    """What `tools/train.py` ends with: the table of one experiment and what it says, as plain text."""
    lines = [f"{results['name']}: {_seeds(results)}, {results.get('protocol') or 'no protocol given'}", ""]
    lines += [stage_table(results).text(), ""]
    lines += [verdict.text for verdict in verdicts(results)]
    return "\n".join(lines).rstrip()


def markdown_table(results: Mapping[str, Any]) -> str:
    """The table of one experiment with a line on how it came about, for a README."""
    timed = any(stage.get("latency_ms") for stage in results["stages"].values())
    note = " Milliseconds: the least of equal networks." if timed else ""
    return f"{stage_table(results).markdown()}\n\n{provenance(results)}{note}"


def markdown_overview(experiments: Mapping[str, Mapping[str, Any]]) -> str:
    """Several experiments in one table, with a line on how each came about, for a README."""
    notes = "\n".join(f"* {name}: {provenance(results)}" for name, results in experiments.items())
    return (
        f"{overview_table(experiments).markdown()}\n\nIn brackets: paired difference to the plain student.\n\n{notes}"
    )


def provenance(results: Mapping[str, Any]) -> str:
    """One paragraph: what the figures are, how they were selected, on what they were measured."""
    versions = results.get("versions", {})
    parts = [
        f"{results['primary_metric'].replace('/', ' ')}: mean ± standard deviation over {_seeds(results)}",
        f"protocol: {results.get('protocol') or 'not recorded'}",
        f"selection: {results.get('selection') or 'not recorded'}",
        f"{results.get('device') or 'device not recorded'}, torch {versions.get('torch') or 'not recorded'}",
        str(results["created"])[:10] if results.get("created") else "date not recorded",
    ]
    return "; ".join(parts) + "."


def replace_section(text: str, name: str, content: str, source: str) -> str:
    """`text` with what stands between its two `<!-- results:NAME -->` lines replaced by `content`.

    Raises `DataError` naming `source` unless there are exactly two such markers.
    """
    marker = f"<!-- results:{name} -->"
    if text.count(marker) != 2:
        known = sorted(set(re.findall(r"<!-- results:(\S+) -->", text)))
        raise DataError(
            f"{source} must hold the line '{marker}' twice, around the table; it holds it {text.count(marker)} times. "
            f"Sections that it has: {', '.join(known) or 'none'}."
        )
    before, _, after = text.split(marker)
    return f"{before}{marker}\n\n{content.strip()}\n\n{marker}{after}"


def stage_title(stage: Mapping[str, Any]) -> str:
    """A stage's title, with its model where the title does not say it."""
    return stage["title"] if stage["model"] in stage["title"] else f"{stage['title']} ({stage['model']})"


def score(entry: Mapping[str, Any] | None) -> str:
    """Mean and spread, in percent where the metric is a fraction; a single seed has no spread."""
    return _mean_and_spread(entry, 100 if _known(entry) and is_fraction(entry) else 1, "")


def difference(entry: Mapping[str, Any] | None) -> str:
    """Mean and spread of a paired difference, in percentage points."""
    return _mean_and_spread(entry, 100, "+")


def _mean_and_spread(entry: Mapping[str, Any] | None, factor: float, sign: str) -> str:
    if not _known(entry):
        return NONE
    mean = f"{factor * entry['mean']:{sign}.2f}"
    return mean if len(entry["values"]) < 2 else f"{mean} ± {factor * (entry['std'] or 0):.2f}"


def is_fraction(entry: Mapping[str, Any]) -> bool:
    """Whether a metric is one to show in percent; what exceeds 1 (a perplexity, a count) is not."""
    return all(value is None or abs(value) <= 1 for value in entry["values"])


def latency_parts(entries: Sequence[Mapping[str, float]]) -> list[str]:
    """The parts that latencies are given for, in their order, without percentiles."""
    return [name for name in dict.fromkeys(n for e in entries for n in e) if not name.endswith(("_p10", "_p90"))]


def _heading(metric: str, results: Mapping[str, Any]) -> str:
    entries = [stage["metrics"][metric] for stage in results["stages"].values() if metric in stage["metrics"]]
    return metric.replace("/", " ") + (", %" if all(map(is_fraction, entries)) else "")


def _known(entry: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    return entry is not None and entry.get("mean") is not None


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value if abs(value) > 1 else 100 * value:.2f}"


def _role(stage: Mapping[str, Any]) -> str:
    method = stage.get("method")
    return f"{stage['role']}, {method}" if method and method not in stage["title"] else stage["role"]


def _latencies(stages: Mapping[str, Mapping[str, Any]], size: str) -> dict[str, float]:
    """Stage -> milliseconds for a batch of `size`, all parts together; of equal networks the least."""
    found: dict[Any, float] = {}
    networks = {}
    for name, stage in stages.items():
        entry = (stage.get("latency_ms") or {}).get(size)
        if entry:
            parameters = stage.get("parameters")
            network = name if parameters is None else (stage["model"], parameters, stage.get("macs"))
            total = sum(entry[part] or 0 for part in latency_parts([entry]))
            found[network] = min(total, found.get(network, total))
            networks[name] = network
    return {name: found[network] for name, network in networks.items()}


def _milliseconds(latency: float | None) -> str:
    return NONE if latency is None else f"{latency:.3g}"


def _giga(count: int | None) -> str:
    return NONE if count is None else f"{count / 1e9:.3g}"


def _seeds(results: Mapping[str, Any]) -> str:
    seeds = results["seeds"]
    return f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''} ({', '.join(map(str, seeds))})"
