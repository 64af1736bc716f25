"""The pictures of docs/measurements/h200, drawn from the series: ``python -m tests.gpu.pictures`` renews them."""

from __future__ import annotations

import bisect
from html import escape
from itertools import pairwise

from tests.gpu import measured

GREY, INK, GRID = "#6b7280", "#111827", "#e5e7eb"
COLOURS = {"counter": "#1f6f5c", "average": "#4c72b0", "samples": "#8c8c8c", "instant": "#dd8452"}
TRUTHS = {"billed": "#1f6f5c", "own": "#4c72b0", "busy": "#c9b458"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 64, 16, 62, 52


class Picture:
    """A chart with one vertical axis, in plain SVG."""

    def __init__(self, title: str, unit: str, low: float, high: float, every: float) -> None:
        self._low, self._high = low, high
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
            f'<title>{escape(title)}</title><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        ]
        self.text(LEFT, 20, title, size=14, colour=INK)
        self.text(LEFT, TOP - 8, unit)
        for i in range(round((high - low) / every) + 1):
            value = low + i * every
            y = self.y(value)
            self.line(LEFT, y, WIDTH - RIGHT, y, GRID)
            self.text(LEFT - 8, y + 4, f"{value:g}", anchor="end")

    def y(self, value: float) -> float:
        """Where a value lies."""
        return HEIGHT - BOTTOM - (value - self._low) / (self._high - self._low) * (HEIGHT - BOTTOM - TOP)

    def text(self, x: float, y: float, said: str, *, anchor: str = "start", size: int = 12, colour: str = GREY) -> None:
        """Write."""
        where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.parts.append(f'<text {where} font-size="{size}" fill="{colour}">{escape(said)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> None:
        """Draw a line."""
        where = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.parts.append(f'<line {where} stroke="{colour}" stroke-width="{width:g}"/>')

    def bar(self, x: float, width: float, value: float, colour: str) -> None:
        """Draw a bar from the axis up."""
        top = self.y(value)
        height = HEIGHT - BOTTOM - top
        self.parts.append(
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )

    def dots(self, places: list[tuple[float, float]], colour: str, size: float) -> None:
        """Draw many points as one path: strokes of no length with round ends."""
        path = "".join(f"M{x:.1f} {self.y(value):.1f}h0" for x, value in places)
        self.parts.append(f'<path d="{path}" stroke="{colour}" stroke-width="{size:g}" stroke-linecap="round"/>')

    def legend(self, entries: dict[str, str]) -> None:
        """Say what the colours mean, above the chart."""
        x = LEFT + 190.0
        for name, colour in entries.items():
            self.parts.append(f'<rect x="{x:.1f}" y="{TOP - 18}" width="12" height="12" fill="{colour}"/>')
            self.text(x + 17, TOP - 8, name)
            x += 32 + 6.6 * len(name)

    def done(self) -> str:
        """The picture as text."""
        return "\n".join([*self.parts, "</svg>\n"])


def waves() -> str:
    """What each reading makes of a square wave, by its period; a point a phase."""
    _, table, _ = measured.waves()
    drawn = Picture("Square waves, half of the time on: mean power by each reading", "share of the swing", 0, 0.8, 0.2)
    names = {"counter": "counter", "average": "average power", "samples": "mean of samples", "instant": "instant power"}
    drawn.legend({said: COLOURS[name] for name, said in names.items()})
    periods = sorted({row["period_ms"] for row in table})
    step = (WIDTH - LEFT - RIGHT) / len(periods)
    for place, period in enumerate(periods):
        middle = LEFT + (place + 0.5) * step
        phases = [row for row in table if row["period_ms"] == period]
        for i, name in enumerate(names):
            x = middle + (i - 1.5) * step / 6
            values = [row[f"{name}_share"] for row in phases]
            drawn.line(x, drawn.y(min(values)), x, drawn.y(max(values)), COLOURS[name], 3)
            drawn.dots([(x, value) for value in values], COLOURS[name], 9)
        drawn.text(middle, HEIGHT - BOTTOM + 20, f"{period:g} ms", anchor="middle", colour=INK)
        many = f"{len(phases)} phases" if len(phases) > 1 else "one phase"
        drawn.text(middle, HEIGHT - BOTTOM + 37, many, anchor="middle")
    return drawn.done()


def after_publication(state: str) -> list[tuple[float, float]]:
    """Calls for the counter: ms from the first sight of a new value to their begin, up to 100, and what they took."""
    calls, found = measured.series(f"01-check-back-to-back-{state}-83"), []
    seen_ns = [b[1] for a, b in pairwise(calls) if a[2] != b[2]]
    for begin, end, _ in calls:
        place = bisect.bisect_right(seen_ns, begin)
        if place and begin - seen_ns[place - 1] <= 100_000_000:
            found.append(((begin - seen_ns[place - 1]) / 1e6, (end - begin) / 1e6))
    return found


def counter_calls() -> str:
    """How long a call for the counter takes, by how long after a publication it begins."""
    drawn = Picture("A call for the energy counter, by where it begins", "ms it takes", 0, 20, 5)
    colours = {"idle": COLOURS["average"], "loaded": COLOURS["instant"]}
    drawn.legend(colours)
    width = WIDTH - LEFT - RIGHT
    for state, colour in colours.items():
        dots = [(LEFT + since / 100 * width, took) for since, took in after_publication(state)]
        drawn.dots(dots, colour, 3.5)
    for ms in range(0, 101, 20):
        drawn.text(LEFT + ms / 100 * width, HEIGHT - BOTTOM + 20, str(ms), anchor="middle", colour=INK)
    said = "ms from the first sight of a new value to the begin of the call"
    drawn.text(LEFT + width / 2, HEIGHT - BOTTOM + 40, said, anchor="middle")
    return drawn.done()


def sharing() -> str:
    """Bills with their sigma, beside both truths."""
    table, _ = measured.sharing()
    drawn = Picture("Jobs that share a card: what was billed, and two truths", "joules", 0, 3500, 500)
    drawn.legend({
        "billed, and its sigma": TRUTHS["billed"],
        "by own energy": TRUTHS["own"],
        "by share of busy time": TRUTHS["busy"],
    })  # fmt: skip
    said = {
        "kit-a": ("a: 30 ms in 100", "beside b, locked"),
        "kit-b": ("b: 40 ms in 100", "beside a, locked"),
        "kit-c": ("c: 0.6 s, alone", "not seen"),
        "kit-d": ("d: 30 ms in 90", "beside e"),
        "kit-e": ("e: 50 ms in 130", "beside d"),
    }
    step = (WIDTH - LEFT - RIGHT) / len(table)
    for place, (name, row) in enumerate(table.items()):
        middle, width = LEFT + (place + 0.5) * step, step / 5
        for i, (truth, colour) in enumerate(TRUTHS.items()):
            drawn.bar(middle + (i - 1.5) * width, width - 2, row[f"{truth}_j"] or 0.0, colour)
        if row["billed_j"] is not None:
            x, low, high = middle - width - 1, row["billed_j"] - row["sigma_j"], row["billed_j"] + row["sigma_j"]
            drawn.line(x, drawn.y(low), x, drawn.y(high), INK, 1.5)
            for end in (low, high):
                drawn.line(x - 5, drawn.y(end), x + 5, drawn.y(end), INK, 1.5)
        for line, text in enumerate(said[name]):
            drawn.text(middle, HEIGHT - BOTTOM + 20 + 17 * line, text, anchor="middle", colour=GREY if line else INK)
    return drawn.done()


PICTURES = {"waves.svg": waves, "counter-calls.svg": counter_calls, "sharing.svg": sharing}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (measured.FOLDER / name).write_text(draw())
