"""Tables, figures, pictures of scenes and the HTML report. Matplotlib is imported only when something is drawn."""

from structkd.visualization.camera import plot_camera
from structkd.visualization.cells import plot_cells
from structkd.visualization.codes import plot_codes
from structkd.visualization.detection_curves import plot_average_precision, plot_precision_recall
from structkd.visualization.frames import plot_frame
from structkd.visualization.report import render_report
from structkd.visualization.run import Run, read_run, read_runs
from structkd.visualization.scene_3d import plot_scene_3d
from structkd.visualization.scene_boxes import SceneBoxes
from structkd.visualization.scenes import plot_birds_eye
from structkd.visualization.tables import markdown_table, summary_table

__all__ = [
    "Run",
    "SceneBoxes",
    "markdown_table",
    "plot_average_precision",
    "plot_birds_eye",
    "plot_camera",
    "plot_cells",
    "plot_codes",
    "plot_frame",
    "plot_precision_recall",
    "plot_scene_3d",
    "read_run",
    "read_runs",
    "render_report",
    "summary_table",
]
