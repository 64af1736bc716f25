"""What a panel's queries answer: series for graphs, rows for tables, with Grafana's transformations."""

import json
import urllib.error
import urllib.parse
import urllib.request

from tests.boards.variables import events, put


class Source:
    """A Prometheus at an address, asked over HTTP; a refusal is a `ValueError` with what it said."""

    def __init__(self, url):
        self._url = url

    def ask(self, path, **query):
        """The data of an answer of the API."""
        form = urllib.parse.urlencode(query)
        address = f"{self._url}/api/v1/{path}?{form}"
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{json.load(error)['error']} in {query}") from None

    def series(self, expr, span):
        """A range query: (labels, points) of each series."""
        step_s = span.step_s
        first_s = span.start_s // step_s * step_s
        found = self.ask("query_range", query=expr, start=first_s, end=span.end_s, step=step_s)["result"]
        return [(row["metric"], [(float(t), float(v)) for t, v in row["values"]]) for row in found]

    def now(self, expr, span):
        """An instant query at the end of the range: (labels, value) of each series."""
        found = self.ask("query", query=expr, time=span.end_s)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(row["metric"], float(row["value"][1])) for row in found["result"]]

    def marked(self, board, found, span):
        """Annotations of a board that are switched on: (name, colour, events). Grafana asks at a hundred points."""
        coarse = type(span)(span.start_s, span.end_s, 100)
        made = []
        for mark in board["annotations"].get("list", ()):
            if mark["enable"]:
                series = self.series(put(mark["expr"], found, coarse), coarse)
                made.append((mark["name"], mark["iconColor"], events(mark, series, coarse.step_s)))
        return made


def rows(panel, answers):
    """A table of instant answers: [(ref, [(labels, value)])], after the panel's transformations."""
    several = len(answers) > 1
    frames = [_frame(found, f"Value #{ref}" if several else "Value") for ref, found in answers]
    for step in panel.get("transformations", ()):
        if step["id"] == "merge":
            frames = [_merged(frames)]
        elif step["id"] == "organize":
            frames = [_organized(frame, step["options"]) for frame in frames]
        else:
            raise ValueError(f"the transformation {step['id']} is not known")
    assert len(frames) == 1, "Grafana shows one frame of a table at a time"
    return frames[0]


def _frame(found, value_name):
    """One answer as rows: label -> text, and the value's column -> number."""
    return [{"Time": None, **labels, value_name: value} for labels, value in found]


def _merged(frames):
    made = {}
    for frame in frames:
        for row in frame:
            key = tuple(sorted((k, v) for k, v in row.items() if not k.startswith("Value")))
            made.setdefault(key, {}).update(row)
    return list(made.values())


def _organized(frame, options):
    gone, names, order = options["excludeByName"], options["renameByName"], options.get("indexByName", {})
    columns = dict.fromkeys(name for row in frame for name in row)
    kept = [name for name in columns if not gone.get(name)]
    kept.sort(key=lambda name: order.get(name, len(order)))
    return [{names.get(name, name): row.get(name) for name in kept} for row in frame]
