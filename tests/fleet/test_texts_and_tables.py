"""What an estimate says in words, and whose readers a table goes to."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fleet.recorded import recorded
from tests.fleet.test_estimators import population, sample
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.told import degrees, estimate_parts
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
        assert f"standard error {'-' if se is None else shown(se, 'W')}, {degrees(found.df)}" in head
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
    ],
)
def test_what_no_gpu_draws_is_no_reading_of_a_gpu(files, header, rows, of_gpus):
    """Loads may be of any size; what draws more than a GPU can is rejected where it must be one."""
    large = "\n".join([header, *(f"{row}0000000" for row in rows.split(" "))]) + "\n"
    if of_gpus:
        with pytest.raises(InputError, match="no reading of power"):
            recorded(files(s_csv=large))
    else:
        (found,) = recorded(files(s_csv=large)).series.values()
        assert found[1].tolist()[0] in {5e7, 5e10, 5e13}


@pytest.mark.parametrize(
    ("header", "kind", "series"),
    [
        ("time,job,power", "job", {"a": [5.0], "b": [7.0]}),
        ("time,job_id,power", "job", {"a": [5.0], "b": [7.0]}),
        ("time,JobID,power", "job", {"a": [5.0], "b": [7.0]}),
        ("time,instance,power", "gpu", {"a": [5.0], "b": [7.0]}),
        ("time,host,power", "gpu", {"a": [5.0], "b": [7.0]}),
        ("time,gpu,power", "gpu", {"a": [5.0], "b": [7.0]}),
        ("time,remark,power", "total", {"total": [6.0]}),
    ],
)
def test_what_a_series_is_of_is_known_by_the_names_of_columns(files, header, kind, series):
    found = recorded(files(s_csv=f"{header}\n3,a,5\n3,b,7\n"))
    assert found.kind == kind
    assert {str(name): power.tolist() for name, (_, power) in found.series.items()} == series
