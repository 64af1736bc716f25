"""Panels as HTML: numbers, tables, bars and texts; a type of panel that is not known is an error."""

import html
import math

from tests.boards.data import rows
from tests.boards.graph import graph, lines_of, states
from tests.boards.settings import Settings
from tests.boards.units import shown
from tests.boards.variables import legend, put


def drawn(panel, source, found, span, marks, wide, tall):
    """Ask a panel's queries and draw the answers: HTML, inside a box of this size."""
    kind = panel["type"]
    if kind == "timeseries":
        series = [
            (legend(put(target["legendFormat"], found, span), labels), points)
            for target in panel["targets"]
            for labels, points in source.series(put(target["expr"], found, span), span)
        ]
        return graph(panel, lines_of(panel, series), span, marks, wide, tall)
    if kind == "state-timeline":
        (target,) = panel["targets"]
        found_states = source.series(put(target["expr"], found, span), span)
        rows_of_states = [(legend(put(target["legendFormat"], found, span), labels), p) for labels, p in found_states]
        return states(panel, rows_of_states, span, wide, tall)
    answers = [(target, source.now(put(target["expr"], found, span), span)) for target in panel["targets"]]
    if kind == "stat":
        return _number(panel, answers, wide, tall)
    if kind == "table":
        return _table(panel, rows(panel, [(target["refId"], answer) for target, answer in answers]), tall)
    if kind == "bargauge":
        return _bars(panel, answers, wide)
    raise ValueError(f"panels of type {kind} are not known")


def _number(panel, answers, wide, tall):
    """One large number; Grafana would show several beside each other, and these boards have one."""
    (values,) = ([value for _, value in answer] for _, answer in answers)
    assert len(values) <= 1, (panel["title"], values)
    settings = Settings(panel, "")
    value = values[0] if values and not math.isnan(values[0]) else None
    if value is None:
        text = settings.get("noValue", "No data")
    else:
        text = settings.mapped(value) or shown(value, settings.get("unit", "none"), settings.get("decimals"))
    size = min(tall * 0.5, wide / max(4, len(text)) * 1.4, 34)
    filled = panel["options"]["colorMode"] == "background"
    colour = settings.by_threshold(value, "#585f66" if filled else "#d8d9da")
    style = f"background:{colour};color:#fff" if filled else f"color:{colour}"
    return f'<div class="number" style="height:{tall}px;font-size:{size:.0f}px;{style}">{html.escape(text)}</div>'


def _table(panel, found, tall):
    names = list(dict.fromkeys(name for row in found for name in row))
    names = [name for name in names if not Settings(panel, name).get("custom.hidden")]
    for sort in reversed(panel["options"].get("sortBy", ())):
        found = sorted(found, key=lambda row: _number_of(row.get(sort["displayName"])), reverse=sort.get("desc", False))
    figures = {name for row in found for name, cell in row.items() if isinstance(cell, float)}
    head = "".join(f'<th class="{"n" if name in figures else ""}">{html.escape(name)}</th>' for name in names)
    body = "".join("<tr>" + "".join(_cell(panel, name, row.get(name)) for name in names) + "</tr>" for row in found)
    none = "" if found else '<p class="none">No data</p>'
    return f'<div class="table" style="height:{tall}px"><table><tr>{head}</tr>{body}</table>{none}</div>'


def _number_of(cell):
    return cell if isinstance(cell, float) and not math.isnan(cell) else -math.inf


def _cell(panel, name, cell):
    settings = Settings(panel, name)
    if isinstance(cell, float):
        return f'<td class="n">{shown(cell, settings.get("unit", "none"), settings.get("decimals"))}</td>'
    text = html.escape(settings.mapped(cell) or cell or "")
    return f"<td><a>{text}</a></td>" if settings.get("links") and text else f"<td>{text}</td>"


def _bars(panel, answers, wide):
    bars = [(legend(target["legendFormat"], labels), value) for target, answer in answers for labels, value in answer]
    most = max((value for _, value in bars), default=1) or 1
    made = []
    for place, (name, value) in enumerate(bars):
        settings = Settings(panel, name)
        text = shown(value, settings.get("unit", "none"), settings.get("decimals"))
        long = max(2, value / most * (wide - 260))
        made.append(
            f'<div class="bar"><span>{html.escape(name)}</span>'
            f'<i style="width:{long:.0f}px;background:{settings.colour(place)}"></i><b>{text}</b></div>'
        )
    return f'<div class="bars">{"".join(made)}</div>'
