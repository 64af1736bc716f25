"""What a panel's JSON sets for a field: its defaults, and the overrides that match it."""

import re

PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0")
PALETTE += ("#37872d", "#fade2a", "#447ebc", "#c15c17", "#890f02", "#0a437c", "#6d1f62", "#584477")
PALETTE += ("#b7dbab", "#f4d598", "#70dbed", "#f9ba8f", "#f29191", "#82b5d8", "#e5a8e2", "#aea2e0")
"""Grafana's classic palette: a series' colour is its place."""
NAMED = {"red": "#f2495c", "blue": "#5794f2", "green": "#73bf69", "orange": "#ff9830", "text": None}


class Settings:
    """The settings of one field of a panel, by dotted path: ``unit``, ``custom.hidden``, ``links``."""

    def __init__(self, panel, name):
        config = panel.get("fieldConfig", {})
        self._set = _flat(config.get("defaults", {}))
        for override in config.get("overrides", ()):
            if _matches(override["matcher"], name):
                for one in override["properties"]:
                    value = one.get("value")
                    self._set[one["id"]] = value

    def get(self, path, default=None):
        """One setting, or the default."""
        value = self._set.get(path, default)
        return default if value is None else value

    def colour(self, place):
        """The colour of a series: fixed, or its place's in the palette."""
        fixed = self.get("color", {})
        return fixed["fixedColor"] if fixed.get("mode") == "fixed" else PALETTE[place % len(PALETTE)]

    def by_threshold(self, value, base):
        """The colour of a value by the thresholds."""
        found = base
        for step in self.get("thresholds", {"steps": []})["steps"]:
            if step["value"] is None or (value is not None and value >= step["value"]):
                found = NAMED.get(step["color"], step["color"]) or base
        return found

    def mapped(self, value):
        """The text that a mapping puts in place of a value, or None."""
        for mapping in self.get("mappings", ()):
            options = mapping["options"]
            if mapping["type"] == "special" and value in ("", None) and options["match"] in ("null", "empty"):
                return options["result"]["text"]
            if value in ("", None) or isinstance(value, str):
                continue
            if mapping["type"] == "value" and str(round(value)) in options:
                return options[str(round(value))]["text"]
            if mapping["type"] == "range" and options["from"] <= value <= options["to"]:
                return options["result"]["text"]
        return None


def _flat(defaults):
    found = {}
    for key, value in defaults.items():
        if key == "custom":
            found |= {f"custom.{name}": one for name, one in value.items()}
        else:
            found[key] = value
    return found


def _matches(matcher, name):
    if matcher["id"] == "byName":
        return name == matcher["options"]
    if matcher["id"] == "byRegexp":
        return re.search(matcher["options"].strip("/"), name) is not None
    raise ValueError(f"the matcher {matcher['id']} is not known")
