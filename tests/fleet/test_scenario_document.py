"""Every shipped scenario, read and computed a second time from its TOML: the document says what the file says."""

import math
import re
import tomllib

import numpy as np
import pytest

from tests.fleet import naive_fleet as naive
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.claims.scenario import shipped

FUNCTIONS = {
    "sum": np.sum, "mean": np.mean, "min": np.minimum, "max": np.maximum, "smallest": np.min, "largest": np.max,
    "sqrt": np.sqrt, "log10": np.log10, "exp": np.exp, "ceil": np.ceil,
}  # fmt: skip


def span_of(given):
    """Ends of a given number; of a list those of the factor that all of it shares."""
    value = given["value"] if not isinstance(given["value"], list) else 1.0
    half = abs(value) * given.get("spread", 0.0)
    return value, given.get("low", value - half), given.get("high", value + half)


def value_of(name, file, moved):
    """Compute what is called ``name``, with some given numbers moved."""
    if name in file["given"]:
        value = file["given"][name]["value"]
        if isinstance(value, list):
            return np.array(value) * moved.get(name, 1.0)
        return moved.get(name, value)
    names = dict.fromkeys((*file["given"], *file["formula"]))
    text = file["formula"][name]["is"]

    class Lazy(dict):
        def __missing__(self, word):
            return value_of(word, file, moved) if word in names else FUNCTIONS[word]

    return eval(text, {"__builtins__": {}}, Lazy())


def interval_of(name, file):
    middle = float(value_of(name, file, {}))
    ups, downs = [0.0], [0.0]
    for given, table in file["given"].items():
        _, low, high = span_of(table)
        ends = [float(value_of(name, file, {given: end})) - middle for end in (low, high)]
        ups.append(max(0.0, *ends))
        downs.append(min(0.0, *ends))
    return [
        pytest.approx(x, rel=1e-9) for x in (middle, middle - naive.root_sum(*downs), middle + naive.root_sum(*ups))
    ]


def sources_of(name, file):
    """Given numbers on which a figure rests, and their sources."""
    if name in file["given"]:
        return {name: file["given"][name]["source"]}
    names = [word for word in re.findall(r"\b[a-z]\w*", file["formula"][name]["is"]) if word not in FUNCTIONS]
    return {key: source for word in names for key, source in sources_of(word, file).items()}


def wanted_of(c, wrote):
    """Verdict and words of its reason, by the rule of the documentation."""
    if c["verdict"] == "not comparable":
        assert wrote.get("as_of") or wrote.get("boundary")
        return "not comparable", "is not to be compared with"
    slack = abs(c["claimed"]) * (c["tolerance"] or 0.0)
    floor = -math.inf if c["relation"] == "at most" else c["claimed"] - slack
    ceiling = math.inf if c["relation"] == "at least" else c["claimed"] + slack
    hair = 1e-9 * max(abs(c["claimed"]), abs(c["computed"]))
    margin = 0.0 if c["lower"] == c["upper"] else 0.01
    if c["lower"] >= floor - hair and c["upper"] <= ceiling + hair:
        return "supported for part of it" if "part" in wrote else "supported", "agrees with"
    if c["upper"] < floor - margin * abs(floor):
        return "contradicted", "lies below"
    if c["lower"] > ceiling + margin * abs(ceiling):
        return "contradicted", "lies above"
    return "undetermined", "neither rules out nor confirms"


@pytest.fixture(params=shipped())
def scenario(request, fleet):
    file = tomllib.loads(shipped()[request.param].read_text())
    return request.param, file, fleet("scenario", request.param, "--json").json


def test_what_is_given_is_told(scenario):
    name, file, found = scenario
    assert (found["name"], found["title"], found["source"]) == (file.get("name", name), file["title"], file["source"])
    assert [g["name"] for g in found["given"]] == list(file["given"])
    for g in found["given"]:
        wrote = file["given"][g["name"]]
        assert (g["value"], g["unit"], g["source"]) == (wrote["value"], wrote["unit"], wrote["source"])
        if isinstance(wrote["value"], list):
            assert (g["low"], g["high"], g["spread"]) == (None, None, pytest.approx(wrote.get("spread", 0.0)))
        else:
            assert (g["low"], g["high"]) == tuple(map(pytest.approx, span_of(wrote)[1:]))
            assert g["spread"] is None


def test_what_is_computed_is_the_files_arithmetic(scenario):
    _, file, found = scenario
    numbers = [name for name, table in file["formula"].items() if not table.get("list")]
    assert [f["name"] for f in found["figures"]] == numbers
    for f in found["figures"]:
        wrote = file["formula"][f["name"]]
        assert [f["value"], f["lower"], f["upper"]] == interval_of(f["name"], file)
        assert (f["unit"], f["about"], f["formula"]) == (wrote["unit"], wrote.get("about", ""), wrote["is"])
    assert len(found["boundaries"]) == len(file["boundary"]) > 0
    for b, wrote in zip(found["boundaries"], file["boundary"], strict=True):
        assert (b["boundary"], b["basis"]) == (wrote["boundary"], wrote.get("basis", ""))
        assert [b["mean_w"], b["lower_w"], b["upper_w"]] == interval_of(wrote["power"], file)
    energy = [found[f"energy_kwh_per_year{end}"] for end in ("", "_lower", "_upper")]
    assert [kwh / 8.76 for kwh in energy] == interval_of(file["energy"]["of"], file)
    assert found["energy_of"] == file["energy"]["of"]


def test_claims_are_those_of_the_file_and_judged_by_their_interval(scenario):
    _, file, found = scenario
    assert len(found["claims"]) == len(file["claim"]) > 0
    for c, wrote in zip(found["claims"], file["claim"], strict=True):
        assert (c["article"], c["as_of"], c["boundary"]) == tuple(map(wrote.get, ("article", "as_of", "boundary")))
        assert (c["text"], c["source"]) == (wrote["text"], wrote.get("source", file["source"]))
        if "not_computable" in wrote:
            assert c["verdict"] == "not computable"
            assert c["reason"] == f"no model can judge it: {wrote['not_computable']}."
            assert c["numbers_from"] == []
            continue
        assert {g["name"]: g["source"] for g in c["numbers_from"]} == sources_of(wrote["computed"], file)
        assert (c["claimed"], c["unit"]) == (wrote["claimed"], wrote["unit"])
        assert c["relation"] == wrote.get("relation", "about")
        assert c["tolerance"] == (wrote.get("tolerance", 0.1) if c["relation"] == "about" else None)
        assert [c["computed"], c["lower"], c["upper"]] == interval_of(wrote["computed"], file)
        wanted = wanted_of(c, wrote)
        assert c["verdict"] == wanted[0]
        assert wanted[1] in c["reason"]
        assert c["reason"].endswith(f"{wrote.get('because', '')}".rstrip(".") + ".")
        assert shown(c["computed"], c["unit"]) in c["reason"]
        assert shown(c["claimed"], c["unit"]) in c["reason"]
        assert (between(c["lower"], c["upper"], c["unit"]) in c["reason"]) == (c["lower"] != c["upper"])


def test_the_text_says_what_the_document_says(scenario, fleet):
    name, _, found = scenario
    plain, explained = (fleet("scenario", name, *flags).out for flags in ((), ("--explain",)))
    cells = [" ".join(line.split()) for line in plain.splitlines()]
    assert cells[:2] == [f"{found['name']}: {found['title']}", f"source: {found['source']}"]
    for b in found["boundaries"]:
        span = "exact" if b["lower_w"] == b["upper_w"] else between(b["lower_w"], b["upper_w"], "W")
        assert f"{b['boundary']} {shown(b['mean_w'], 'W')} {span} {b['basis']}".strip() in cells
    assert f"energy: {shown(found['energy_kwh_per_year'] * 1e3, 'Wh')} a year" in plain
    for c in found["claims"]:
        assert f"{c['verdict'].upper()}: {c['text']}\n    {c['reason']}" in plain
    for f in found["figures"]:
        line = f"{f['name']} = {shown(f['value'], f['unit'])}"
        assert f"    = {f['formula']}" in explained
        assert any(told.startswith(line) and told.endswith(f": {f['about']}") for told in explained.splitlines())
    for g in found["given"]:
        value = f"{len(g['value'])} values" if isinstance(g["value"], list) else shown(g["value"], g["unit"])
        assert f"{g['name']} = {value}" in explained
        assert f"    {g['source']}" in explained
    assert "\n    = " not in plain
