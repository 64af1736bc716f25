"""A time series panel as SVG with its legend: lines, stacks, gaps, thresholds and annotations."""

import html
import math
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.boards.settings import NAMED, Settings
from tests.boards.units import shown, ticks
from tests.boards.variables import STEPS

LEFT, RIGHT, TOP, BOTTOM = 64, 22, 6, 22
CALCULATED = {
    "mean": lambda values: sum(values) / len(values),
    "max": max,
    "lastNotNull": lambda values: values[-1],
}
HEADINGS = {"mean": "Mean", "max": "Max", "lastNotNull": "Last"}


@dataclass
class Line:
    """One series, drawn: its points, and the heights that it stands on."""

    name: str
    points: dict
    settings: Settings
    colour: str
    base: dict

    @property
    def values(self):
        """What is known of it."""
        return [value for value in self.points.values() if not math.isnan(value)]

    @property
    def stacked(self):
        """Whether it stands on others."""
        return self.settings.get("custom.stacking", {}).get("mode", "none") == "normal"


def lines_of(panel, series):
    """Series as lines, those that are stacked each on those before it; ``series`` is (name, points)."""
    made, height = [], {}
    for place, (name, points) in enumerate(series):
        settings = Settings(panel, name)
        line = Line(name, dict(points), settings, settings.colour(place), {})
        if line.stacked:
            for time_s, value in line.points.items():
                line.base[time_s] = height.get(time_s, 0.0)
                height[time_s] = line.base[time_s] + (0.0 if math.isnan(value) else value)
        made.append(line)
    return made


def graph(panel, lines, span, marks, wide, tall):
    """Draw it: HTML of the plot and of the legend below it."""
    legend = panel["options"]["legend"]
    rows = len(lines) + 1 if legend["displayMode"] == "table" else math.ceil(len(lines) / max(1, wide // 150))
    below = min(round(tall * 0.38), rows * 18 + 6)
    return _plot(panel, lines, span, marks, wide, tall - below) + _legend(legend, lines, below)


def _plot(panel, lines, span, marks, wide, tall):
    settings = Settings(panel, "")
    low, high = _bounds(lines, settings)
    unit = settings.get("unit", "none")

    def x(time_s):
        return LEFT + (time_s - span.start_s) / (span.end_s - span.start_s) * (wide - LEFT - RIGHT)

    def y(value):
        return tall - BOTTOM - (value - low) / (high - low) * (tall - TOP - BOTTOM)

    parts = [f'<svg width="{wide}" height="{tall}" class="plot">']
    for value in ticks(low, high, max(2, tall // 45)):
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{wide - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{shown(value, unit)}</text>')
    for time_s in _moments(span, wide):
        parts.append(f'<path class="grid" d="M{x(time_s):.1f} {TOP}V{tall - BOTTOM}"/>')
        clock = datetime.fromtimestamp(time_s, UTC).strftime("%H:%M")
        parts.append(f'<text x="{x(time_s):.1f}" y="{tall - 6}" text-anchor="middle">{clock}</text>')
    for line in lines:
        parts += _drawn(line, span.step_s, x, y)
    for value, colour in _thresholds(settings):
        if low <= value <= high:
            dashed = f'stroke="{colour}" stroke-dasharray="8 6" fill="none"'
            parts.append(f'<path d="M{LEFT} {y(value):.1f}H{wide - RIGHT}" {dashed}/>')
    for _, colour, found in marks:
        for begin_s, end_s, _text in found:
            at = f"M{x(begin_s):.1f} {TOP}V{tall - BOTTOM}"
            parts.append(f'<path d="{at}" stroke="{NAMED[colour]}" stroke-dasharray="3 3" opacity=".8"/>')
            foot = x(begin_s), x(end_s), tall - BOTTOM
            parts.append(
                f'<path d="M{foot[0] - 4:.1f} {foot[2] + 5}L{foot[0]:.1f} {foot[2]}L{foot[1] + 4:.1f} {foot[2] + 5}Z" '
                f'fill="{NAMED[colour]}"/>'
            )
    if not lines:
        parts.append(f'<text x="{wide / 2}" y="{tall / 2}" text-anchor="middle" class="none">No data</text>')
    return "".join([*parts, "</svg>"])


def states(panel, series, span, wide, tall):
    """A row for each series, coloured by its state, with the state's name where there is room."""
    known = Settings(panel, "").get("mappings")[0]["options"]
    series, below = sorted(series)[: int(panel["options"]["perPage"])], 24
    left, high = 110, (tall - below - TOP - BOTTOM) / max(1, len(series))
    parts = [f'<svg width="{wide}" height="{tall - below}" class="plot">']

    def x(time_s):
        return left + (time_s - span.start_s) / (span.end_s - span.start_s) * (wide - left - RIGHT)

    for time_s in _moments(span, wide):
        clock = datetime.fromtimestamp(time_s, UTC).strftime("%H:%M")
        parts.append(f'<text x="{x(time_s):.1f}" y="{tall - below - 6}" text-anchor="middle">{clock}</text>')
    for place, (name, points) in enumerate(series):
        top = TOP + place * high
        parts.append(f'<text x="{left - 8}" y="{top + high / 2 + 4:.1f}" text-anchor="end">{html.escape(name)}</text>')
        for first_s, last_s, value in _runs(points, span.step_s):
            state = known[str(round(value))]
            box = f'x="{x(first_s):.1f}" width="{max(1.0, x(last_s) - x(first_s)):.1f}"'
            parts.append(f'<rect {box} y="{top:.1f}" height="{high * 0.85:.1f}" fill="{state["color"]}" opacity=".8"/>')
            if x(last_s) - x(first_s) > 9 * len(state["text"]):
                at = f'x="{(x(first_s) + x(last_s)) / 2:.1f}" y="{top + high / 2 + 3:.1f}" style="fill:#fff"'
                parts.append(f'<text {at} text-anchor="middle">{state["text"]}</text>')
    if not series:
        parts.append(f'<text x="{wide / 2}" y="{tall / 2}" text-anchor="middle" class="none">No data</text>')
    names = "".join(f'<span><i style="background:{one["color"]}"></i>{one["text"]}</span>' for one in known.values())
    return "".join([*parts, "</svg>", f'<div class="legend" style="height:{below}px">{names}</div>'])


def _runs(points, step_s):
    """Where a series has the same value: (from, to, value); a point stands for the step after it."""
    made = []
    for time_s, value in points:
        if made and made[-1][2] == value and time_s - made[-1][1] < step_s / 2:
            made[-1][1] = time_s + step_s
        else:
            made.append([time_s, time_s + step_s, value])
    return made


def _bounds(lines, settings):
    tops = [line.base.get(t, 0.0) + v for line in lines for t, v in line.points.items() if not math.isnan(v)]
    low = settings.get("min", min(tops, default=0.0))
    high = max(tops, default=1.0)
    high = max([high, *(value for value, _ in _thresholds(settings))])
    return low, high + (high - low) * 0.04 if high > low else low + 1


def _thresholds(settings):
    """The thresholds that are drawn: (value, colour)."""
    if settings.get("custom.thresholdsStyle", {}).get("mode") != "dashed":
        return []
    return [(step["value"], step["color"]) for step in settings.get("thresholds")["steps"] if step["value"] is not None]


def _moments(span, wide):
    step = next(s for s in (*STEPS, 1e9) if s >= (span.end_s - span.start_s) / max(2, wide // 90))
    first = math.ceil(span.start_s / step) * step
    return [first + i * step for i in range(int((span.end_s - first) // step) + 1)]


def _drawn(line, step_s, x, y):
    """Paths of one series: a new one after each gap."""
    runs, last = [], None
    for time_s, value in sorted(line.points.items()):
        if math.isnan(value):
            continue
        if last is None or time_s - last > step_s * 1.5:
            runs.append([])
        runs[-1].append((time_s, line.base.get(time_s, 0.0), value))
        last = time_s
    style = line.settings.get("custom.lineStyle", {})
    dash = f' stroke-dasharray="{" ".join(map(str, style["dash"]))}"' if "dash" in style else ""
    opacity = line.settings.get("custom.fillOpacity", 0) / 100
    for run in runs:
        top = "L".join(f"{x(t):.1f} {y(base + value):.1f}" for t, base, value in run)
        if opacity:
            foot = "L".join(f"{x(t):.1f} {y(base):.1f}" for t, base, _ in reversed(run))
            yield f'<path d="M{top}L{foot}Z" fill="{line.colour}" fill-opacity="{opacity}"/>'
        if len(run) == 1:
            yield f'<circle cx="{x(run[0][0]):.1f}" cy="{y(run[0][1] + run[0][2]):.1f}" r="1.5" fill="{line.colour}"/>'
        yield f'<path d="M{top}" stroke="{line.colour}" fill="none"{dash}/>'


def _legend(legend, lines, tall):
    def name(line):
        return f'<i style="background:{line.colour}"></i>{html.escape(line.name.strip())}'

    if legend["displayMode"] == "list":
        inside = "".join(f"<span>{name(line)}</span>" for line in lines)
        return f'<div class="legend" style="height:{tall}px">{inside}</div>'
    calcs = legend["calcs"]
    if sort := next((calc for calc in calcs if HEADINGS[calc] == legend.get("sortBy")), None):
        lines = sorted(lines, key=lambda one: -CALCULATED[sort](one.values) if one.values else 0.0)
    head = "".join(f"<th>{HEADINGS[calc]}</th>" for calc in calcs)
    body = "".join(
        f"<tr><td>{name(line)}</td>"
        + "".join(
            f"<td>{shown(CALCULATED[calc](line.values), line.settings.get('unit', 'none')) if line.values else ''}</td>"
            for calc in calcs
        )
        + "</tr>"
        for line in lines
    )
    return f'<div class="legend" style="height:{tall}px"><table><tr><th></th>{head}</tr>{body}</table></div>'
