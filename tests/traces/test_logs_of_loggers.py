"""Logs as people write them: each has the joules that are known here, or is refused with what to say."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.traces.one_reader import replayed
from wattshed.agent.errors import InputError

T0 = datetime(2026, 3, 9, 14, 3, 57, tzinfo=UTC)
TIMES = [T0 + timedelta(seconds=s) for s in range(8)]
WATTS = {0: [100.5, 180, 140, 150, 160, 120.25, 110, 90], 1: [250, 300, 310, 305, 280, 290.5, 300, 260]}
ONE, TWO = ([sum((a + b) / 2 for a, b in pairwise(WATTS[gpu])) for gpu in gpus] for gpus in ((0,), (0, 1)))


def rounds(header, row):
    """Write a row for each GPU and time: of the time, the GPU and its watts."""
    return header + "".join(f"{row(t, gpu, WATTS[gpu][k])}\n" for k, t in enumerate(TIMES) for gpu in WATTS)


def wide(header, row):
    """Write a row for each time: of the time and the watts of both."""
    return header + "".join(f"{row(t, *(WATTS[gpu][k] for gpu in WATTS))}\n" for k, t in enumerate(TIMES))


def alone(header, row):
    """Write a row for each time: of the time and the watts of GPU 0."""
    return wide(header, lambda t, watts, _: row(t, watts))


def comma(number):
    return str(number).replace(".", ",")


READ = {
    "the index of pandas": (rounds(",timestamp,gpu_id,power_draw_W\n", lambda t, g, w: f"7,{t:%F %T},{g},{w}"), TWO),
    "an index of times": (wide(",gpu_0,gpu_1\n", lambda t, a, b: f"{t:%F %T},{a},{b}"), TWO),
    "watts below one that say so": (alone("time,power\n", lambda t, a: f"{t:%FT%T},{a / 250} W"), [ONE[0] / 250]),
    "kilowatts": (alone("time,gpu_power_kW\n", lambda t, a: f"{t:%FT%T},{a / 1000}"), ONE),
    "a total beside its parts": (
        wide("time,cpu_power,gpu0_power,gpu1_power,total_power\n",
             lambda t, a, b: f"{t:%FT%T},50,{a},{b},{a + b + 50}"),
        TWO,
    ),
    "GPU and total": (
        alone("time,cpu_power,gpu_power,total_power\n", lambda t, a: f"{t:%FT%T},50,{a},{a + 50}"), ONE),
    "German": (
        wide("Zeit;GPU0 Leistung (W);GPU1 Leistung (W)\n", lambda t, a, b: f"{t:%d.%m.%Y %T};{comma(a)};{comma(b)}"),
        TWO,
    ),
    "Chinese": (alone("时间,功率(W)\n", lambda t, a: f"{t:%F %T},{a}"), ONE),
    "a column that is called as DCGM's field": (
        rounds("timestamp,Hostname,gpu,UUID,DCGM_FI_DEV_POWER_USAGE\n",
               lambda t, g, w: f"{t:%FT%TZ},n1,{g},GPU-{g}a000000-0000,{w}"), TWO),
    "tags of TensorBoard": (
        rounds("wall_time,step,tag,value\n", lambda t, g, w: f"{t.timestamp()},1,gpu/{g}/power,{w}"), TWO),
    "metrics of MLflow": (
        rounds("run_uuid,key,value,timestamp,step\n",
               lambda t, g, w: f"a1,system/gpu_{g}_power_usage_watts,{w},{t.timestamp() * 1e3:.0f},1"), TWO),
    "nvitop": (
        wide("resources/timestamp,resources/duration (s),resources/cuda:0 (gpu:4)/power_usage (W)/mean,"
             "resources/cuda:1 (gpu:5)/power_usage (W)/mean\n", lambda t, a, b: f"{t.timestamp()},1.0,{a},{b}"), TWO),
    "Kibana": (
        rounds('"@timestamp","gpu.index","gpu.power_w"\n', lambda t, g, w: f'"Mar 9, 2026 @ {t:%T}.000",{g},{w}'), TWO),
    "minutes and seconds, as Excel shows them": (alone("timestamp,power\n", lambda t, a: f"{t:%M:%S}.0,{a}"), ONE),
    "past the full hour": (
        alone("timestamp,power\n", lambda t, a: f"{t + timedelta(minutes=56):%M:%S}.0,{a}"), ONE),
    "the year first, of two digits": (alone("time,power\n", lambda t, a: f"{t:%y/%m/%d %T},{a}"), ONE),
    "the month first, of two digits": (alone("time,power\n", lambda t, a: f"03/19/26 {t:%T},{a}"), ONE),
    "seconds by the name": (alone("time_s,power\n", lambda t, a: f"{(t - T0).seconds * 100},{a}"), [100 * ONE[0]]),
    "rounds a minute apart": (alone("time,power\n", lambda t, a: f"{(t - T0).seconds * 60},{a}"), [60 * ONE[0]]),
    "dicts of Python": (rounds("", lambda t, g, w: str({"time": t.timestamp(), "gpu": g, "power": w})), TWO),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_it_is_read(tmp_path, name):
    text, want = READ[name]
    path = tmp_path / "log"
    path.write_text(text)
    assert sorted(gpu["energy_j"] for gpu in replayed(path, None)) == pytest.approx(sorted(want), abs=1e-5)


REFUSED = {
    "a number of epochs": (
        alone("epoch,power\n", lambda t, a: f"{(t - T0).seconds},{a}"), "counts epochs and is no time"),
    "durations": (alone("step,time,power\n", lambda t, a: f"1,0.5{t.second * 7 % 10},{a}"), "like a duration"),
    "milliseconds without a unit": (
        alone("time,power\n", lambda t, a: f"{(t - T0).seconds * 1000},{a}"), "1000 apart: seconds, or milliseconds"),
    "kilowatts without a unit": (alone("time,power\n", lambda t, a: f"{t:%FT%T},{a / 1000}"), "is it in kW"),
    "a total of more than GPUs": (
        wide("time,cpu_power,total_power\n", lambda t, a, b: f"{t:%FT%T},{a},{a + b}"), "columns are not clear"),
    "a date that can be two": (
        alone("time,power\n", lambda t, a: f"26/11/28 {t:%T},{a}"),
        r"26/11/28 can be 2026-11-28 \(ymd\) or 2028-11-26 \(dmy\); say --columns time=COLUMN:ymd, or :dmy"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(tmp_path, name):
    text, why = REFUSED[name]
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(InputError, match=why) as error:
        replayed(path, None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("a number of epochs", "time=epoch:s,power=power"),
        ("milliseconds without a unit", "time=time:ms"),
        ("kilowatts without a unit", "power=power:kW"),
        ("a date that can be two", "time=time:ymd"),
        ("a date that can be two", "time=time:dmy"),
    ],
)
def test_what_the_refusal_says_helps(tmp_path, name, spec):
    path = tmp_path / "log"
    path.write_text(REFUSED[name][0])
    assert [gpu["energy_j"] for gpu in replayed(path, spec)] == pytest.approx(ONE, abs=1e-5)


def test_days_that_go_on_tell_the_order_of_a_date(tmp_path):
    """Whichever way 10/11/12 could be read, the days of a log follow each other."""
    days = [datetime(2026, 11, day, tzinfo=UTC) for day in range(9, 13)]
    for form in ("%y/%m/%d", "%d/%m/%y", "%m/%d/%y"):
        path = tmp_path / "log"
        path.write_text(
            "time,power\n" + "".join(f"{day.strftime(form)} 12:00:0{s},100\n" for day in days for s in (0, 1))
        )
        assert [gpu["span_s"] for gpu in replayed(path, None)] == [3 * 86_400 + 1]


def test_names_with_commas_stand_in_quotes(wattshed, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('t,"Power, board (W)","kind, what"\n' + "".join(f'170000000{s},100,"a,b"\n' for s in range(3)))
    flags = ("--columns", 'time=t,power="Power, board (W)"', "--where", '"kind, what"="a,b"', "--format", "json")
    code, out, err = wattshed("replay", path, *flags)
    assert (code, json.loads(out or "{}").get("total_j")) == (0, 200.0), err
