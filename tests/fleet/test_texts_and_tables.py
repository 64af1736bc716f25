"""What an estimate says in words, and whose readers a table goes to."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fleet.test_estimators import population, sample
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.demand.series import open_recording, read_recording
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.report import estimate_parts
from wattshed.agent.printing.paragraphs import text_of

SOME = st.none() | st.floats(1, 1e9)


@given(total=SOME, lower=SOME, upper=SOME, se=SOME, deff=SOME, confidence=st.sampled_from([0.9, 0.95]))
def test_an_estimate_says_what_it_knows_and_no_more(total, lower, upper, se, deff, confidence):
    found = estimate(sample(population(9, 7), [1, 2, 4], [5, 8]), "stratified")
    found = replace(found, total=total, lower=lower, upper=upper, se=se, deff=deff, confidence=confidence)
    text = text_of(estimate_parts(found, "W"))
    head = text.splitlines()[0]
    percent = f"{confidence:.0%}"
    if total is None:
        assert head == f"total unknown; the measured strata add up to {shown(found.measured_total, 'W')}"
    elif lower is None or upper is None:
        assert head == f"total {shown(total, 'W')}, no {percent} interval"
    else:
        assert head.startswith(f"total {shown(total, 'W')}, {percent} interval {between(lower, upper, 'W')} (")
        assert f"standard error {'-' if se is None else shown(se, 'W')}, {found.df} degrees" in head
    assert ("Design effect" in text) == (deff is not None)
    assert "se, standard error" in text
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.lstrip().startswith("s")]
    assert rows[0] == ["stratum", "hosts", "mean", "sd", "total", "se"]
    for row, one in zip(rows[1:], found.strata, strict=True):
        numbers = [shown(value, "W") for value in (one.mean, one.sd, one.total, one.se)]
        assert row == [one.stratum, f"{one.sampled} of {one.hosts}", *numbers]


@pytest.mark.parametrize(
    ("header", "rows", "of_gpus"),
    [
        ("time,power", "0,5 1,7", False),
        ("time,power_kw", "0,5 1,7", False),
        ("time,gpu,power_MW", "0,0,5 1,0,7", False),
        ("time,job,power", "0,a,5 1,a,7", False),
        ("time,job,gpu,power", "0,a,0,5 1,a,0,7", False),
        ("time,gpu,power", "0,0,5 1,0,7", True),
        ("timestamp,power.draw [W]", "0,5 1,7", True),
        ("timestamp,index,power.draw [W]", "0,0,5 1,0,7", True),
        ("time,power", "0,5 0,6 1,7 1,8 2,9 2,9", True),  # GPUs one after the other, without a name
    ],
)
def test_a_table_of_gpus_is_a_traces_and_any_other_a_loads(files, header, rows, of_gpus):
    asked = []

    def read_trace(path, spec, reports):
        asked.append(path)
        raise InputError("these are no windows")

    path = files(s_csv="\n".join([header, *rows.split(" ")]) + "\n")
    if of_gpus and header != "time,power":
        with pytest.raises(InputError, match="these are no windows"):
            open_recording(path, {}, read_trace)
    else:
        assert open_recording(path, {}, read_trace).series
    assert asked == [path] * of_gpus


@pytest.mark.parametrize(
    ("header", "kind", "series"),
    [
        ("time,job,power", "job", {"a": [5.0], "b": [7.0]}),
        ("time,job_id,power", "job", {"a": [5.0], "b": [7.0]}),
        ("time,JobID,power", "job", {"a": [5.0], "b": [7.0]}),
        ("time,instance,power", "gpu", {"a": [5.0], "b": [7.0]}),
        ("time,host,power", "gpu", {"a": [5.0], "b": [7.0]}),
        ("time,gpu,power", "gpu", {"a": [5.0], "b": [7.0]}),
        ("time,remark,power", "total", {"total": [5.0]}),
    ],
)
def test_what_a_series_is_of_is_known_by_the_names_of_columns(files, header, kind, series):
    found = read_recording(files(s_csv=f"{header}\n3,a,5\n3,b,7\n"))
    assert found.kind == kind
    assert {name: power.tolist() for name, (_, power) in found.series.items()} == series
    assert found.rejected == ({} if len(series) > 1 else {"same_time": 1})
