"""A Grafana board as a picture, from a real Prometheus: the board's own JSON, without Grafana.

    python -m tests.boards.render deploy/grafana/wattshed-host.json http://127.0.0.1:9090 host.png --hours 1

It draws what the boards of this project use: rows, numbers, tables, bars and graphs with stacks, thresholds, limits,
gaps and annotations, on Grafana's grid and in its dark colours. What else a board may hold is an error, so that nothing
is silently missing. It is no Grafana: fonts, spacing and the heights of legends are near, not the same; nothing can be
clicked; links are underlined.
"""

import argparse
import html
import json
import shutil
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.boards.data import Source
from tests.boards.panels import drawn
from tests.boards.variables import Span, put, resolve

CELL, GAP, PADDING, HEAD = 30, 8, 8, 26
STYLE = """
*{box-sizing:border-box} body{margin:0;background:#111217;color:#ccccdc;font:13px Inter,"DejaVu Sans",sans-serif}
header{padding:10px 16px;font-size:16px} header small{color:#8e8e99;font-size:12px;margin-left:10px}
.choices{padding:0 16px 8px;display:flex;flex-wrap:wrap;gap:6px 10px;font-size:12px}
.choices span{border:1px solid #2c2f36;border-radius:2px;background:#181b1f}
.choices em{font-style:normal;background:#22252b;padding:3px 7px;display:inline-block;color:#9fa7b3}
.choices b{font-weight:400;padding:3px 7px;display:inline-block;max-width:320px;overflow:hidden;white-space:nowrap}
.marks i{display:inline-block;width:9px;height:9px;margin:0 5px 0 7px;border-radius:5px}
main{position:relative;margin:0 8px} section{position:absolute;background:#181b1f;border:1px solid #25282e;
border-radius:2px;padding:0 8px 8px;overflow:hidden} section.bare{border:0;background:none;padding:0} section>h2{
font-size:13px;font-weight:500;margin:0;height:26px;line-height:26px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.row{position:absolute;font-size:15px;font-weight:500;padding:4px 8px} svg text{fill:#9fa7b3;font-size:11px}
.grid{stroke:#2a2d33;fill:none} .none{fill:#8e8e99;color:#8e8e99;text-align:center}
.number{display:flex;align-items:center;justify-content:center;font-weight:500;border-radius:2px}
.legend{overflow:hidden;font-size:12px} .legend table{width:100%;border-spacing:0}
.legend th{font-weight:400;color:#6e9fff;text-align:right} .legend td{padding:1px 4px;text-align:right;height:16px}
.legend td:first-child{text-align:left;white-space:nowrap} .legend i{display:inline-block;width:12px;height:4px;
border-radius:2px;margin-right:7px;vertical-align:middle} .legend span{margin-right:12px;white-space:nowrap}
.table{overflow:hidden} .table table{border-collapse:collapse;width:100%;font-size:12px} .table th{text-align:left;
color:#6e9fff;font-weight:500;padding:5px 6px;border-bottom:1px solid #2a2d33;white-space:nowrap}
.table td{padding:5px 6px;border-bottom:1px solid #22252b;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;
max-width:380px} .table .n{text-align:right!important} .table a{text-decoration:underline}
.bar{display:flex;align-items:center;height:34px;gap:8px} .bar span{width:120px;text-align:right} .bar i{height:22px}
.bar b{font-weight:500;white-space:nowrap}
"""


def render(board, prometheus_url, out, *, end_s=None, hours=1.0, width=1280, **chosen):
    """Draw a board into a PNG.

    Parameters
    ----------
    board : Path
        The board's JSON.
    prometheus_url : str
    out : Path
        The picture to write.
    end_s, hours : float
        The end of the time range, Unix seconds, now if not given; and how long it is.
    width : int
        Pixels; the picture is as tall as the board.
    **chosen
        Values of variables that are not as the board has them: ``job="slurm:4001"``, ``instance=["a:9961", "b:9961"]``.

    Returns
    -------
    dict of str to str
        The HTML of each panel by its title, for whoever looks for what is empty.
    """
    document = json.loads(Path(board).read_text(encoding="utf-8"))
    end_s = time.time() if end_s is None else end_s
    page, panels, tall = _page(document, Source(prometheus_url), Span(end_s - hours * 3600, end_s), width, chosen)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            sheet = browser.new_page(viewport={"width": width, "height": tall})
            sheet.set_content(page)
            sheet.screenshot(path=str(out), full_page=True)
        finally:
            browser.close()
    return panels


def _page(board, source, span, width, chosen):
    found = resolve(board, source.ask, span, **chosen)
    marks = source.marked(board, found, span)
    column = (width - 16 + GAP) / 24
    parts, panels, bottom = [], {}, 0
    for panel in board["panels"]:
        place = panel["gridPos"]
        left, top = place["x"] * column, place["y"] * (CELL + GAP)
        wide, tall = place["w"] * column - GAP, place["h"] * (CELL + GAP) - GAP
        bottom = max(bottom, top + tall)
        at = f"left:{left:.0f}px;top:{top}px;width:{wide:.0f}px;height:{tall}px"
        named = put(panel["title"], found, span)
        title = html.escape(named)
        if panel["type"] == "row":
            parts.append(f'<div class="row" style="{at}">⌄ {title}</div>')
            continue
        bare = panel.get("transparent", False)
        room = (round(wide), tall) if bare else (round(wide) - 2 * PADDING - 2, tall - HEAD - PADDING - 2)
        inside = drawn(panel, source, found, span, marks, *room)
        panels[named] = inside
        head = f"<h2>{title}</h2>" if title else ""
        parts.append(f'<section class="{"bare" if bare else ""}" style="{at}">{head}{inside}</section>')
    choices = _choices(board, found, marks)
    head = f"<header>{html.escape(board['title'])}<small>{html.escape(board['description'])}</small></header>{choices}"
    body = f'<main style="height:{bottom}px">{"".join(parts)}</main>'
    page = f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{head}{body}'
    return page, panels, round(bottom) + 120


def _choices(board, found, marks):
    shown = [
        (variable.get("label") or variable["name"], ", ".join(found[variable["name"]].texts) or "None")
        for variable in board["templating"]["list"]
        if variable["type"] != "datasource"
    ]
    choices = "".join(f"<span><em>{html.escape(a)}</em><b>{html.escape(b)}</b></span>" for a, b in shown)
    colours = {"red": "#f2495c", "blue": "#5794f2", "green": "#73bf69", "orange": "#ff9830"}
    legend = "".join(
        f'<i style="background:{colours[colour]}"></i>{html.escape(name)} ({len(events)})'
        for name, colour, events in marks
    )
    return f'<div class="choices">{choices}<span class="marks">{legend}&nbsp;</span></div>'


def main():
    """Draw one board."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("board", type=Path)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--end", type=float)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--choose", action="append", default=[], metavar="VARIABLE=VALUE")
    args = parser.parse_args()
    chosen = dict(one.split("=", 1) for one in args.choose)
    render(args.board, args.url, args.out, end_s=args.end, hours=args.hours, width=args.width, **chosen)


if __name__ == "__main__":
    main()
