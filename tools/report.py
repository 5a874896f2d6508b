"""Make a report of finished work directories: an HTML page and PNGs, or the table in a README.

    python tools/report.py WORK_DIR [WORK_DIR ...] [--out DIR]
    python tools/report.py WORK_DIR [WORK_DIR ...] --markdown README.md --section NAME

The second form rewrites what stands between the two `<!-- results:NAME -->` lines of the file. Several work
directories give one overview. Everything comes from their `results.json` and `scalars.jsonl`; nothing is run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from structkd.errors import DataError, StructkdError
from structkd.files import atomic_write_bytes, atomic_write_text
from structkd.visualization.report import render_report
from structkd.visualization.run import Run, by_metric, only_stages, read_runs
from structkd.visualization.tables import markdown_overview, markdown_table, replace_section


def write_report(runs: Sequence[Run], out: Path) -> Path:
    """Write `report.html` and its figures to `out`; returns the page's path."""
    page, images = render_report(runs)
    for name, png in images.items():
        atomic_write_bytes(out / name, png)
    return atomic_write_text(out / "report.html", page)


def write_markdown(runs: Sequence[Run], file: Path, section: str) -> None:
    """Put the table of `runs` into `section` of `file`."""
    if not file.is_file():
        raise DataError(f"There is no {file} to write the table to.")
    if len(runs) == 1:
        table = markdown_table(runs[0].results)
    else:
        table = markdown_overview({run.name: run.results for run in runs})
    atomic_write_text(file, replace_section(file.read_text(encoding="utf-8"), section, table, str(file)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "work_dirs", nargs="+", type=Path, metavar="WORK_DIR", help="folder with a results.json, or such a file"
    )
    parser.add_argument("--out", type=Path, help="folder for the report (default: report/ in the first WORK_DIR)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="rewrite a table in this file instead")
    parser.add_argument("--section", metavar="NAME", help="which table of FILE")
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="show these stages only")
    parser.add_argument("--metric", metavar="NAME", help="show this metric first, such as val/accuracy")
    options = parser.parse_args(arguments)
    if (options.markdown is None) != (options.section is None):
        parser.error("--markdown and --section belong together")
    first = options.work_dirs[0]
    if first.is_file() and options.out is None and options.markdown is None:
        parser.error(f"{first} is a file: name the report's folder with --out")
    try:
        runs = read_runs(options.work_dirs)
        if options.stages:
            runs = [only_stages(run, options.stages) for run in runs]
        if options.metric:
            runs = [by_metric(run, options.metric) for run in runs]
        if options.markdown is not None:
            write_markdown(runs, options.markdown, options.section)
            print(f"Table '{options.section}' written to {options.markdown}")
            return 0
        page = write_report(runs, options.out or first / "report")
    except StructkdError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"Report: {page.resolve()} (open it in a browser; the figures lie beside it as PNG)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
