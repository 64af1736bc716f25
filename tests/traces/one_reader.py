"""The law of one reader: what ``wattshed replay`` reads, ``wattshed fleet demand`` reads, with the same power."""

import json

import numpy as np
import pytest

from tests.fleet.recorded import recorded
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.columns import parse_spec
from wattshed.agent.replay.books import Settings, book, finish, merge, new_part, pieces_of
from wattshed.agent.replay.report import as_json, document
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

SHORTEST_GAP_US = 5_000_000
NO_SERIES = "it is a table of runs, with no reading of power over time"
NO_POWER = ("no reading of power", "no usable power")

LONGEST_BRIDGED_US = 86_400_000_000
"""A hole of more than a day is one whatever the period."""


def replayed(path, spec):
    """Joules by power of each GPU, as replay gives them."""
    options = Options(parse_spec(spec) if spec else None)
    parts = []
    for chain in find([str(path)], options):
        part = new_part(Settings(options))
        for piece in pieces_of(chain):
            book(piece, Settings(options), part)
        parts.append(finish(part))
    return json.loads(as_json(document(merge(parts))))["gpus"]


def demanded(path, spec):
    """Joules of each series of a demand: trapezoids over all that is no gap."""
    found = recorded(path, columns=spec)
    joules = []
    for time_us, power_w in found.series.values():
        steps = np.diff(time_us)
        gap_us = max(SHORTEST_GAP_US, 10 * int(np.median(steps)) if steps.size > 1 else 0)
        bridged = steps <= min(gap_us, LONGEST_BRIDGED_US)
        joules.append(float((0.5 * (power_w[1:] + power_w[:-1]) * steps / 1e6)[bridged].sum()))
    return joules, found


def outcome(attempt):
    try:
        return attempt(), ""
    except InputError as error:
        return None, str(error)


def holds(path, spec=None):
    """Check the law for one file or folder."""
    gpus, refused = outcome(lambda: replayed(path, spec))
    demand, refused_too = outcome(lambda: demanded(path, spec))
    if gpus is None:
        alike = refused_too == refused or NO_SERIES in refused_too
        assert alike, f"{path}: replay refuses it, a demand otherwise"
        return
    joules = sorted(gpu["power_j"] for gpu in gpus if gpu["power_j"] and gpu["samples"] > 1)
    if demand is None:
        assert not joules, f"{path}: replay reads it, a demand does not: {refused_too}"
        assert any(said in refused_too for said in NO_POWER)
        return
    series, found = demand
    assert sorted(j for j in series if j) == pytest.approx(joules, rel=1e-6, abs=2e-3), f"{path}: {found.rejected}"
