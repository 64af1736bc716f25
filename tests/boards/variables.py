"""A board's variables, resolved and put into queries and addresses as Grafana does it.

What Grafana does is in its sources, packages/grafana-prometheus/src (metric_find_query.ts, datasource.ts,
annotations.ts): a value that is chosen alone is put in escaped for a pattern, several as ``(a|b)``, and All as the
variable's own pattern. What is not known here is an error.
"""

import math
import re
import urllib.parse
from dataclasses import dataclass, field, replace

FORM = re.compile(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}")
STEPS = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
SCRAPE_S = 15


@dataclass(frozen=True)
class Span:
    """The time range of a board, Unix seconds, and how many points a panel asks for."""

    start_s: float
    end_s: float
    points: int = 300

    @property
    def step_s(self):
        """Seconds between two points: a round number, and no fewer than the scrape interval."""
        wanted = max(SCRAPE_S, (self.end_s - self.start_s) / self.points)
        return next((step for step in STEPS if step >= wanted), STEPS[-1])

    def values(self):
        """What Grafana's own variables are in this range."""
        rate_s = max(self.step_s + SCRAPE_S, 4 * SCRAPE_S)
        return {
            "__interval": f"{self.step_s}s",
            "__rate_interval": f"{rate_s}s",
            "__range": f"{round(self.end_s - self.start_s)}s",
            "__from": f"{round(self.start_s * 1000)}",
            "__to": f"{round(self.end_s * 1000)}",
        }


@dataclass(frozen=True)
class Value:
    """What a variable is now: chosen texts and values, its pattern in queries, and all that may be chosen."""

    texts: tuple
    values: tuple
    pattern: str
    offered: list = field(default_factory=list, compare=False)


def resolve(board, ask, span, **chosen):
    """Resolve the variables in their order, each with those before it; gives name -> `Value`.

    ``chosen`` has values of those that are not left as the board has them; a list chooses several.
    """
    found = {}
    for variable in board["templating"]["list"]:
        name = variable["name"]
        options = _options(variable, ask, span, found)
        wanted = chosen.get(name)
        if wanted is None:
            found[name] = replace(_default(variable, options), offered=options)
            continue
        values = tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)
        texts = {value: text for text, value in options}
        shown = tuple(texts.get(value, value) for value in values)
        found[name] = Value(shown, values, _pattern(variable, values), options)
    return found


def _default(variable, options):
    current = variable.get("current") or {}
    if current.get("value") == "$__all":
        return Value(("All",), ("$__all",), variable["allValue"])
    if variable["type"] in ("textbox", "datasource"):
        value = current.get("value", variable.get("query", ""))
        return Value((value,), (value,), value)
    if not options:
        return Value(("None",), ("",), "")
    text, value = options[0]
    return Value((text,), (value,), value)


def _pattern(variable, values):
    if not variable.get("multi"):
        return values[0]
    escaped = [re.sub(r"([\\^$*+?.()|{}\[\]])", r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _options(variable, ask, span, found):
    """The choices of a variable, (text, value), by name."""
    if variable["type"] in ("textbox", "datasource"):
        return []
    if variable["type"] != "query":
        raise ValueError(f"variables of type {variable['type']} are not known")
    query = put(variable["query"], found, span)
    if match := re.fullmatch(r"label_values\((.+),\s*(\w+)\)", query):
        texts = ask(f"label/{match[2]}/values", **{"match[]": match[1], "start": span.start_s, "end": span.end_s})
    elif match := re.fullmatch(r"query_result\((.+)\)", query):
        texts = [
            "{" + ",".join(f'{k}="{v}"' for k, v in row["metric"].items()) + "} " + row["value"][1]
            for row in ask("query", query=match[1], time=span.end_s)["result"]
        ]
    else:
        raise ValueError(f"a query of a variable that is not known: {query}")
    return sorted(set(_parts(variable.get("regex"), texts)))


def _parts(regex, texts):
    if not regex:
        return [(text, text) for text in texts]
    pattern = re.compile(regex.strip("/").replace("(?<", "(?P<"))
    return [(match["text"], match["value"]) for match in map(pattern.search, texts) if match]


def put(text, found, span):
    """Put variables and Grafana's own into a query or a text; a ``$1`` of a replacement stays."""
    own = span.values()

    def value(match):
        name, form = match[1] or match[2], match[3]
        if name.isdigit():
            return match[0]
        if name in own:
            return own[name]
        if name not in found:
            raise ValueError(f"no variable {name} in {text}")
        return found[name].pattern if form is None else formatted(name, found[name], form)

    return FORM.sub(value, text)


def formatted(name, value, form):
    """A variable in a form that Grafana has for addresses."""
    if form == "queryparam":
        return "&".join(f"var-{name}={urllib.parse.quote(one, safe='')}" for one in value.values)
    if form == "percentencode":
        return urllib.parse.quote(",".join(value.values), safe="")
    raise ValueError(f"the form {form} of a variable is not known")


def events(mark, series, step_s):
    """What Grafana makes of an annotation's series: (begin s, end s, text); neighbours are one."""
    made = []
    for labels, points in series:
        text = legend(mark["textFormat"], labels)
        last = None
        for time_s, value in points:
            at_s = value / 1000 if mark["useValueForTime"] else time_s
            if math.isnan(value) or (not mark["useValueForTime"] and value <= 0):
                continue
            if last is not None and last[1] + step_s >= at_s:
                last[1] = at_s
                continue
            last = [at_s, at_s, text]
            made.append(last)
    return [tuple(one) for one in made]


def legend(text, labels):
    """A legend's name: ``{{label}}``, as Grafana fills it; without one, all labels."""
    if not text:
        inside = ", ".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if k != "__name__")
        return f"{labels.get('__name__', '')}{{{inside}}}" if labels else "Value"
    return re.sub(r"\{\{\s*(.+?)\s*\}\}", lambda match: labels.get(match[1], match[1]), text)
