"""A report on a synthetic table as a page of HTML."""

from html import escape

import pandas as pd

# Number of columns whose pictures are seen at once: those that differ most.
N_SHOWN = 12
# Size of a picture in pixels.
WIDTH, HEIGHT = 150, 44
# What each measure says, and its best value.
MEANINGS = {
    "shape": ("1", "how well the distribution of each column agrees, on average"),
    "trend": ("1", "how well the dependence of pairs of columns agrees, on average"),
    "c2st": (".5", "how well boosting tells drawn rows from real ones (AUC)"),
    "copies": ("0", "share of the rows that equal a real one"),
    "dcr_excess": ("0", "how far rows lean to those that the model saw; 1: copies"),
    "tstr": ("trtr", "score of a model trained on drawn rows, on rows held out"),
    "trtr": ("", "score of a model trained on real rows, on rows held out"),
}
STYLE = """
.su-report {font-family: system-ui, sans-serif; line-height: 1.4; max-width: 60rem}
.su-report table {border-collapse: collapse; margin: .8em 0}
.su-report th, .su-report td {padding: .2em .7em; text-align: right}
.su-report th:first-child, .su-report td:last-child {text-align: left}
.su-report thead th {border-bottom: 1px solid}
.su-report .scroll {overflow-x: auto}
.su-report .verdict {font-size: 1.1em; font-weight: 600; margin: .5em 0}
.su-report .columns {display: flex; flex-wrap: wrap; gap: .8em 1.2em; margin: .6em 0}
.su-report figure {margin: 0; width: 150px}
.su-report figcaption {font-size: .8em; overflow-wrap: anywhere}
.su-report .real {fill: currentColor; opacity: .35}
.su-report .synthetic {fill: #3b7dd8}
@media (max-width: 40rem) {
  .su-report :is(table, thead, tbody) {display: block}
  .su-report tr {display: grid; align-items: end;
    grid-template-columns: 5.5rem repeat(var(--numbers), minmax(0, 1fr))}
  .su-report :is(th, td) {padding: .15em .2em; font-size: .85rem}
  .su-report thead th {font-size: .65rem}
  .su-report thead th:last-child {display: none}
  .su-report tbody td:last-child {grid-column: 1 / -1; padding-bottom: .6em}
}
"""


def report_to_html(report) -> str:
    """A fragment that stands in a notebook, and in a page of its own."""
    parts = [f"<style>{STYLE}</style>", '<div class="su-report">']
    parts += [f'<p class="verdict">{escape(text)}</p>' for text in report.verdict]
    if report.warnings:
        items = "".join(f"<li>{escape(text)}</li>" for text in report.warnings)
        parts.append(f"<ul>{items}</ul>")
    parts += [scores_to_html(report.scores), columns_to_html(report.columns), "</div>"]
    return "\n".join(parts)


def page_of(fragment) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Report on a synthetic table</title></head>\n<body>{fragment}</body>"
        "</html>\n"
    )


def scores_to_html(scores):
    """A row for each measure, whose last cell says what it means.

    On a narrow screen that cell stands below the numbers; their count is told to STYLE.
    """
    head = "".join(f"<th>{escape(str(name))}</th>" for name in scores.index)
    rows = []
    for name, values in scores.items():
        best, meaning = MEANINGS[name]
        cells = "".join(f"<td>{value:.3f}</td>" for value in values)
        rows.append(
            f"<tr><th>{name}</th>{cells}<td>{best}</td><td>{escape(meaning)}</td></tr>"
        )
    return (
        f'<div class="scroll"><table style="--numbers: {len(scores) + 1}"><thead>'
        f"<tr><th></th>{head}<th>best</th><th></th>"
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def columns_to_html(columns):
    """A small picture of each column; those that differ most are seen at once."""
    order = sorted(columns, key=lambda name: columns[name][0])
    pictures = [column_to_html(name, *columns[name]) for name in order]
    legend = "Columns, those that differ most first: real rows grey, drawn ones blue."
    html = f'<p>{legend}</p><div class="columns">{"".join(pictures[:N_SHOWN])}</div>'
    if len(pictures) > N_SHOWN:
        html += (
            f"<details><summary>{len(pictures) - N_SHOWN} more columns</summary>"
            f'<div class="columns">{"".join(pictures[N_SHOWN:])}</div></details>'
        )
    return html


def column_to_html(name, shape, shares):
    """Bars of both tables in each bin or level, and the value of a bin on hovering."""
    step = WIDTH / len(shares)
    top = max(shares.to_numpy().max(), 1e-9)
    bars = []
    for place, (label, values) in enumerate(shares.iterrows()):
        width = 0.42 * step
        for offset, side in ((0.06, "real"), (0.52, "synthetic")):
            height = HEIGHT * values[side] / top
            bars.append(
                f'<rect class="{side}" x="{(place + offset) * step:.1f}" '
                f'y="{HEIGHT - height:.1f}" width="{width:.1f}" '
                f'height="{height:.1f}"/>'
            )
        text = f"{describe(label)}: real {values['real']:.1%}"
        text += f", drawn {values['synthetic']:.1%}"
        bars.append(
            f'<rect x="{place * step:.1f}" width="{step:.1f}" height="{HEIGHT}" '
            f'fill="transparent"><title>{escape(text)}</title></rect>'
        )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{escape(str(name))}">'
        f"{''.join(bars)}</svg><figcaption>{escape(str(name))} "
        f"(shape {shape:.3f})</figcaption></figure>"
    )


def describe(label):
    """A bin as its ends, a level as it is."""
    if isinstance(label, pd.Interval):
        ends = (label.left, label.right)
        if isinstance(label.left, pd.Timestamp):
            return " to ".join(str(end.date()) for end in ends)
        return " to ".join(f"{end:.4g}" for end in ends)
    return "missing" if pd.isna(label) else str(label)
