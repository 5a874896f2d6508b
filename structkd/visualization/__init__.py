"""Tables, figures and the HTML report. Matplotlib is imported only when something is drawn."""

from structkd.visualization.codes import plot_codes
from structkd.visualization.report import render_report
from structkd.visualization.run import Run, read_run, read_runs
from structkd.visualization.tables import markdown_table, summary_table

__all__ = ["Run", "markdown_table", "plot_codes", "read_run", "read_runs", "render_report", "summary_table"]
