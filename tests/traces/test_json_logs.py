"""Logs in JSON, of any shape, and W&B's: the joules of a trapezoid that is written down here."""

import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.traces.foreign.json_log import FORMAT
from wattshed.agent.traces.foreign.records import rows_of


@pytest.fixture
def replayed(wattshed, tmp_path):
    def run(text, *flags, name="log.json"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        code, out, err = wattshed("replay", path, "--format", "json", *flags)
        return (json.loads(out) if code == 0 else None), err

    return run


def joules(answer):
    return {(gpu["host"], gpu["uuid"] or gpu["gpu"]): gpu["energy_j"] for gpu in answer["gpus"]}


def trapezoid(times, watts):
    pairs = pairwise(zip(times, watts, strict=True))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs)


TIMES = [1_700_000_000 + t for t in (0, 1, 2.5, 4, 5)]
WATTS = {0: [100, 110.5, 90, 95, 100], 1: [200, 210, 190.25, 205, 201]}
TRUTH = {("", gpu): trapezoid(TIMES, watts) for gpu, watts in WATTS.items()}
ROUNDS = [(time, {gpu: watts[k] for gpu, watts in WATTS.items()}) for k, time in enumerate(TIMES)]
FLAT = [{"time": time, "gpu": gpu, "power_w": watts} for time, each in ROUNDS for gpu, watts in each.items()]
LIST = [
    {
        "ts": time,
        "gpus": [{"id": gpu, "power": watts, "temp": 50} for gpu, watts in each.items()],
        "cpus": [{"load": 1}],
    }
    for time, each in ROUNDS
]
UNNAMED = [{"ts": time, "devices": [{"power_draw": f"{watts} W"} for watts in each.values()]} for time, each in ROUNDS]
KEYED = [{"time": time, "gpu": {f"gpu{gpu}": {"power_w": w} for gpu, w in each.items()}} for time, each in ROUNDS]
NUMBERS = [{"timestamp": time, "power_mw": [watts * 1000 for watts in each.values()]} for time, each in ROUNDS]
NESTED = [
    {"time": time, "nodes": [{"host": "", "gpus": [{"index": gpu, "power": watts} for gpu, watts in each.items()]}]}
    for time, each in ROUNDS
]
SERIALS = [{**row, "gpu": 0, "serial": f"13220{row['gpu']}"} for row in FLAT]  # each process sees its GPU as 0
WIDE = [{"timestamp": time, **{f"gpu{gpu}_power": w for gpu, w in each.items()}} for time, each in ROUNDS]
DOTTED = [{"@timestamp": row["time"], "gpu": {"index": row["gpu"], "power": {"draw": row["power_w"]}}} for row in FLAT]
SHAPES = {"flat": FLAT, "list": LIST, "unnamed": UNNAMED, "keyed": KEYED, "numbers": NUMBERS, "nested": NESTED}
SHAPES |= {"wide": WIDE, "dotted": DOTTED}
WAYS = {
    "lines": lambda values: "".join(json.dumps(value) + "\n" for value in values),
    "behind words": lambda values: "".join(f"INFO:power:{json.dumps(value)}\n" for value in values),
    "in a row": lambda values: "".join(json.dumps(value, indent=2) + "\n" for value in values),
    "array": json.dumps,
    "array, a value a line": lambda values: "[\n" + ",\n".join(map(json.dumps, values)) + "\n]\n",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_gives_the_same_joules(replayed, shape, way):
    answer, err = replayed(WAYS[way](SHAPES[shape]))
    assert answer is not None, err
    assert joules(answer) == pytest.approx(TRUTH)
    assert answer["sources"][0]["format"] == "json"
    assert answer["sources"][0]["rows"] == 10


@pytest.mark.parametrize(
    "dress",
    [lambda t: t.replace("\n", "\r\n").encode(), lambda t: t.encode("utf-16"), lambda t: gzip.compress(t.encode())],
)
def test_however_it_is_written(replayed, dress):
    answer, err = replayed(dress(WAYS["lines"](LIST)))
    assert answer is not None, err
    assert joules(answer) == pytest.approx(TRUTH)


def test_gpustat(replayed):
    def gpu(index, watts):
        return {
            "index": index, "uuid": f"GPU-{index}0000000-aaaa", "name": "Some GPU", "temperature.gpu": 45,
            "utilization.gpu": 7, "power.draw": watts, "enforced.power.limit": 300,
            "processes": [{"username": "u", "command": "python", "gpu_memory_usage": 4000, "pid": 1}],
        }  # fmt: skip

    text = "".join(
        json.dumps({"hostname": "n1", "driver_version": "550.54", "query_time": f"2024-05-01T10:00:0{k}.5",
                    "gpus": [gpu(0, 100), gpu(1, None if k == 1 else 200)]}, indent=4)
        for k in range(3)
    )  # fmt: skip
    answer, err = replayed(text)
    assert answer is not None, err
    assert joules(answer) == {("n1", "GPU-00000000-aaaa"): 200, ("n1", "GPU-10000000-aaaa"): 400}
    assert answer["sources"][0]["rejected"] == {"empty": 1}
    assert answer["start_s"] == 1714557600.5
    assert answer["gpus"][0]["model"] == "Some GPU"


COLUMNS = {"time": TIMES, "gpu_0": WATTS[0], "gpu_1": WATTS[1]}
BY_COLUMNS = {
    "lists": json.dumps(COLUMNS),
    "objects, as pandas writes": json.dumps({n: dict(enumerate(column)) for n, column in COLUMNS.items()}, indent=1),
    "split": json.dumps({"columns": list(COLUMNS), "index": [0], "data": list(zip(*COLUMNS.values(), strict=True))}),
    "dicts of Python": "".join(f"{row}\n" for row in FLAT),
}


@pytest.mark.parametrize("text", BY_COLUMNS.values(), ids=BY_COLUMNS)
def test_tables_by_columns_and_dicts_that_python_printed(replayed, text):
    answer, err = replayed(text)
    assert answer is not None, err
    assert joules(answer) == pytest.approx(TRUTH)


def test_an_index_that_is_0_throughout_does_not_name_the_gpu(replayed):
    answer, err = replayed(WAYS["lines"](SERIALS))
    assert answer is not None, err
    assert sorted(joules(answer).values()) == pytest.approx(sorted(TRUTH.values()))


def test_rows_that_count_can_be_chosen(replayed):
    answer, err = replayed(WAYS["lines"](FLAT), "--where", "gpu=1")
    assert answer is not None, err
    assert joules(answer) == pytest.approx({("", 1): TRUTH["", 1]})


def test_a_damaged_line_is_one_row(replayed):
    lines = WAYS["lines"](FLAT).splitlines(keepends=True)
    answer, err = replayed("".join([*lines[:3], '{"time": 17000\n', *lines[3:], '{"time": 1700000009, "gp']))
    assert joules(answer) == pytest.approx(TRUTH)
    assert answer["sources"][0]["rejected"] == {"not_json": 2}
    assert "first at line 4" in err or "not_json" in err


@pytest.mark.parametrize("way", ["in a row", "array"])
def test_a_torn_document_is_refused_with_its_line(replayed, way):
    text = WAYS[way](FLAT)
    answer, err = replayed(text[: len(text) - 20])
    assert answer is None
    assert "the JSON is cut off or damaged" in err
    assert err.count("\n") == 1


def test_columns_are_named_by_their_way_through_the_objects(replayed):
    text = "".join(json.dumps({"at": {"s": t}, "m": {"p": 5.0, "energy_note": 1}}) + "\n" for t in range(3))
    answer, err = replayed(text, "--columns", "time=at.s,power=m.p:kW")
    assert answer is None
    assert "at.s" in err  # an object without power is left out, and what is there is said
    text = "".join(json.dumps({"at": t, "m": {"board_power": 0.5}}) + "\n" for t in range(3))
    answer, err = replayed(text, "--columns", "time=at,power=m.board_power:kW")
    assert answer["total_j"] == 1000


def test_json_without_power_is_refused(replayed):
    answer, err = replayed('{"loss": 1, "step": 2}\n')
    assert answer is None
    assert "it is JSON; no key is clearly power or energy" in err


WANDB = [
    {"system.gpu.0.gpu": 4.0, "system.gpu.0.powerWatts": watts[0], "system.gpu.0.powerPercent": 39.7, "_wandb": True,
     "system.gpu.1.powerWatts": watts[1], "system.gpu.process.0.powerWatts": 1.0, "_timestamp": time}
    for time, watts in ROUNDS
]  # fmt: skip


def test_events_of_wandb(replayed):
    answer, err = replayed(WAYS["lines"](WANDB))
    assert joules(answer) == pytest.approx(TRUTH)
    assert "W&B" in err


def test_history_of_wandb_as_csv(replayed):
    names = ["", *WANDB[0]]
    text = ",".join(names) + "\n" + "".join(f"{k},{','.join(map(str, row.values()))}\n" for k, row in enumerate(WANDB))
    answer, err = replayed(text, name="history.csv")
    assert answer is not None, err
    assert joules(answer) == pytest.approx(TRUTH)


def test_a_chart_of_wandb_saved_as_csv(replayed):
    columns = [
        f"{run} - system/gpu.{gpu}.powerWatts{end}"
        for run in ("a-1", "b-2")
        for gpu in (0, 1)
        for end in ("", "__MIN", "__MAX")
    ]
    head = ",".join(f'"{name}"' for name in ["Relative Time (Process)", *columns])
    rows = [
        ",".join([str(time - TIMES[0]), *[str(each[g]) for _ in "ab" for g in (0, 1) for _ in range(3)]])
        for time, each in ROUNDS
    ]
    answer, err = replayed("\n".join([head, *rows]) + "\n", name="chart.csv")
    assert answer is not None, err
    assert sorted(joules(answer).values()) == pytest.approx(sorted([*TRUTH.values(), *TRUTH.values()]))
    answer, err = replayed("\n".join([head.replace("Relative Time (Process)", "Step"), *rows]) + "\n", name="chart.csv")
    assert answer is None
    assert "Relative Time" in err


def test_wandb_without_watts_says_what_to_export(replayed):
    answer, err = replayed('{"system.gpu.0.gpu": 5, "_timestamp": 1}\n')
    assert answer is None
    assert "gpu.N.powerWatts" in err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda some: (
        st.lists(some, max_size=4)
        | st.dictionaries(st.sampled_from(["power", "gpu0", "gpus", "time", "a.b", ""]), some, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JSON, min_size=1, max_size=4), st.integers(0, 400))
def test_any_json_ends_in_an_answer_or_one_line(replayed, values, cut):
    text = "".join(json.dumps(value) + "\n" for value in values)
    answer, err = replayed(text[: len(text) - cut % len(text)])
    assert answer is not None or err.count("\n") == 1


@given(JSON)
def test_rows_are_texts_by_name(value):
    for row in rows_of(value):
        assert all(isinstance(cell, str) for cell in row.values())


def test_it_is_a_format_of_its_own():
    assert FORMAT.name == "json"
