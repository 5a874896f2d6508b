"""The table of operators, from the registry."""

from __future__ import annotations

from mmcv_ops.names import USED_BY
from mmcv_ops.registry import OPERATORS
from structkd.errors import DataError

BEGIN, END = "<!-- mmcv_ops -->", "<!-- /mmcv_ops -->"


def table() -> str:
    """Markdown: a row for each operator that is here, and a line with those that are not."""
    lines = ["| operator | of `mmcv.ops` | built on | differs from the CUDA kernel |", "|---|---|---|---|"]
    for name, entry in sorted(OPERATORS.items()):
        source = entry.built_on if entry.built_on == "torch" else f"`structkd.{entry.built_on}`"
        lines.append(f"| `{name}` | `{USED_BY.get(name, '')}` | {source} | {entry.differs} |")
    missing: dict[str, None] = dict.fromkeys(USED_BY[name] for name in sorted(set(USED_BY) - set(OPERATORS)))
    here = {USED_BY.get(name) for name in OPERATORS}
    partly = sorted(name for name in set(USED_BY) - set(OPERATORS) if USED_BY[name] in here)
    whole = sorted(set(missing) - here)
    lines += ["", f"{len(OPERATORS)} of {len(USED_BY)} functions. Files of `mmcv.ops` of which nothing is here:"]
    lines.append(", ".join(f"`{name}`" for name in whole) + ".")
    lines.append("Missing of the others: " + ", ".join(f"`{name}`" for name in partly) + ".")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """`text` with the table between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise DataError(f"The file has no '{BEGIN}' ... '{END}' to put the table between.")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"
