"""The look of the report and of pictures of scenes: light, readable, printable, nothing loaded from elsewhere."""

#: One colour a class, in the order of the classes; apart from each other for colour-blind eyes and on grey points.
CLASS_COLOURS = (
    *("#2563eb", "#ea580c", "#0f9d58", "#9333ea", "#db2777", "#0891b2", "#a16207", "#dc2626"),
    *("#4d7c0f", "#475569"),
)
#: Labelled boxes, lines of axes, text.
LABEL_COLOUR, LINE_COLOUR, TEXT_COLOUR = "#111827", "#e3e6eb", "#1f2630"
#: Colours of points from low to high, pale enough for boxes to stand out; the colour map of weights.
POINT_COLOURS, WEIGHT_COLOURS = ("#c6ccd5", "#86a8b8", "#3c7d89", "#c2841c"), "magma_r"

CSS = """
body { margin: 0; background: #f6f7f9; color: #1f2630;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 28px 20px 60px; }
section { background: #fff; border: 1px solid #e3e6eb; border-radius: 10px; padding: 26px 34px 32px; margin: 0 0 28px; }
h1 { font-size: 1.65em; line-height: 1.25; margin: 0 0 .4em; }
h2 { font-size: 1.2em; margin: 1.8em 0 .6em; padding-bottom: .25em; border-bottom: 1px solid #e3e6eb; }
h3 { font-size: 1.02em; margin: 1.6em 0 .3em; }
p { margin: .5em 0; }
a { color: #1d4fb8; }
.lead { color: #46505e; }
.note { color: #667080; font-size: .88em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92em; }
th { text-align: left; color: #566070; font-weight: 600; border-bottom: 2px solid #d5dae1; vertical-align: bottom; }
th, td { padding: 7px 12px 7px 0; }
td { border-bottom: 1px solid #eceff3; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
th.number, td.number { text-align: right; padding: 7px 0 7px 14px; }
tr.teacher td, tr.auxiliary td { color: #566070; }
tr.distilled td:first-child { font-weight: 600; }
ul.verdicts { list-style: none; padding: 0; margin: 1.1em 0 .5em; }
ul.verdicts li { padding: 8px 14px; margin: 6px 0;
  border-left: 4px solid #b9c0ca; background: #f5f6f8; border-radius: 4px; }
ul.verdicts li.helps { border-color: #16915f; background: #eef8f3; }
ul.verdicts li.hurts { border-color: #c2413b; background: #fcf0ef; }
ul.verdicts li.unclear { border-color: #c99a2e; background: #fbf6ea; }
img { max-width: 100%; height: auto; display: block; margin: .4em 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 22px; font-size: .92em; }
dt { color: #667080; }
dd { margin: 0; }
details { margin-top: 1em; }
summary { cursor: pointer; color: #1d4fb8; }
pre { background: #f6f7f9; border: 1px solid #e3e6eb; border-radius: 6px;
  padding: 14px; overflow-x: auto; font-size: .84em; }
@media print { body { background: #fff; } section { border: 0; padding: 0; } }
"""
