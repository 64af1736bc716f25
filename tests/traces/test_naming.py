"""Which column names the GPU: whatever else stands beside it, the joules are those of each GPU."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples

SMI = ("timestamp", "power.draw [W]")
PLAIN = ("time", "power_w")
ROUNDS = 12


def uuid(gpu):
    return f"GPU-{gpu:08x}-1111-2222-3333-444444444444"


NAMING = {  # by GPU
    "gpu": str, "gpu_id": str, "gpu_idx": str, "gpu_index": str, "id": str, "index": str, "device": "cuda:{}".format,
    "device_id": str, "idx": str, "gpu_serial": "16505210{:05d}".format, "serial": "1650{:09d}".format,
    "pci.bus": "0x{:02X}".format, "pci.bus_id": "00000000:{:02X}:00.0".format, "gpu_bus_id": "0000:{:02x}:00.0".format,
    "uuid": uuid, "gpu_uuid": uuid, "minor_number": str, "name": "Model {}".format, "gpu_name": "NVIDIA {}".format,
}  # fmt: skip
BESIDE = {  # by (round, GPU): says nothing of which GPU it is
    "index": lambda k, g: 0,
    "gpu_id": lambda k, g: "[N/A]",
    "id": lambda k, g: 100 * k + g,
    "serial": lambda k, g: "[N/A]",
    "name": lambda k, g: "NVIDIA A100-SXM4-40GB",
    "device": lambda k, g: "cuda",
    "host": lambda k, g: "n1",
    "node": lambda k, g: 3,
    "pstate": lambda k, g: "P0",
    "note": lambda k, g: "x",
    "temperature.gpu": lambda k, g: 40 + g,
    "driver_version": lambda k, g: "550.1",
    "utilization.gpu [%]": lambda k, g: f"{k * 7 % 100} %",
    "step": lambda k, g: k,
}


def watts(k, gpu):
    return 100 + 50 * gpu + k % 4


def table(header, naming, beside, gpus, apart_ms, order):
    """A log; order is the place of each column."""
    names = [*header, *naming, *beside]
    rows = []
    for k in range(ROUNDS):
        for g in range(gpus):
            stamp = f"2026/03/01 12:00:{k:02d}.{100 + g * apart_ms:03d}"
            cells = [stamp, f"{watts(k, g):.2f}", *(NAMING[n](g) for n in naming), *(BESIDE[n](k, g) for n in beside)]
            rows.append([str(cell) for cell in cells])
    place = sorted(range(len(names)), key=lambda i: order[i % len(order)])
    return "\n".join(", ".join(row[i] for i in place) for row in [names, *rows]) + "\n"


def joules(gpu):
    return sum((watts(k, gpu) + watts(k + 1, gpu)) / 2 for k in range(ROUNDS - 1))


def replayed(wattshed, path, *more):
    code, out, err = wattshed("replay", path, "--format", "json", *more)
    assert code == 0, err
    return json.loads(out), err


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_columns_that_say_nothing_change_nothing(wattshed, tmp_path, data):
    naming = data.draw(st.lists(st.sampled_from(sorted(NAMING)), max_size=2, unique=True))
    beside = data.draw(st.lists(st.sampled_from(sorted(set(BESIDE) - set(naming))), max_size=4, unique=True))
    header = data.draw(st.sampled_from([SMI, PLAIN]))
    gpus, apart = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([0, 3]))
    order = data.draw(st.permutations(range(8)))
    path = tmp_path / "x.csv"
    path.write_text(table(header, naming, beside, gpus, apart, order))
    answer, _ = replayed(wattshed, path)
    found = sorted(gpu["energy_j"] for gpu in answer["gpus"])
    assert found == pytest.approx([joules(gpu) for gpu in range(gpus)])


@pytest.mark.parametrize("name", NAMING)
@pytest.mark.parametrize("header", [SMI, PLAIN])
def test_every_name_of_a_gpu_is_one(wattshed, tmp_path, name, header):
    """A row may be missing: a column that names the GPU still says which rows are whose."""
    path = tmp_path / "x.csv"
    lines = table(header, [name], [], 4, 3, [0]).splitlines(keepends=True)
    del lines[1 + 4 * 5 + 2]
    path.write_text("".join(lines))
    answer, err = replayed(wattshed, path)
    assert [gpu["samples"] for gpu in answer["gpus"]] == [ROUNDS, ROUNDS, ROUNDS - 1, ROUNDS]
    assert "rounds" not in err


@pytest.mark.parametrize("models", [("A100", "A100"), ("A100", "T4", "A100")])
def test_models_that_several_gpus_share_name_none(wattshed, tmp_path, models):
    path = tmp_path / "x.csv"
    rows = [
        f"2026/03/01 12:00:{k:02d}.{5 * g:03d}, {model}, {watts(k, g):.2f} W"
        for k in range(ROUNDS)
        for g, model in enumerate(models)
    ]
    path.write_text("\n".join(["timestamp, name, power.draw [W]", *rows]) + "\n")
    answer, err = replayed(wattshed, path)
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == pytest.approx([joules(g) for g in range(len(models))])
    assert f"rounds of {len(models)}" in err


def test_an_index_that_never_counts_says_nothing(wattshed, tmp_path):
    """Of four processes that see one GPU each; where powers are alike, they may all see the same."""
    path = tmp_path / "x.csv"
    log = table(SMI, [], ["index"], 4, 3, [0])
    path.write_text(log)
    answer, err = replayed(wattshed, path)
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == pytest.approx([joules(g) for g in range(4)])
    assert "index is 0 throughout and does not say which GPU a row is of" in err
    path.write_text(re.sub(r", 1\d\d\.00", ", 100.00", re.sub(r", 2\d\d\.00", ", 100.00", log)))
    code, out, err = wattshed("replay", path)
    assert (code, out) == (2, "")
    assert "rows with index 0 come in rounds of 4: of 4 GPUs?" in err
    answer, err = replayed(wattshed, path, "--columns", "gpu=index")
    assert len(answer["gpus"]) == 1
    assert "rows with index 0 come in rounds of 4, and are counted as one GPU" in err


def test_the_same_index_on_several_hosts_is_several_gpus(wattshed, tmp_path):
    for host in ("host", "hostname", "node", "node_name"):
        path = tmp_path / f"{host}.csv"
        rows = [f"2026/03/01 12:00:{k:02d}.000,n{g},0,{watts(k, g)} W" for k in range(ROUNDS) for g in range(3)]
        path.write_text("\n".join([f"timestamp,{host},index,power.draw [W]", *rows]) + "\n")
        answer, _ = replayed(wattshed, path)
        assert [(gpu["host"], gpu["gpu"]) for gpu in answer["gpus"]] == [("n0", 0), ("n1", 0), ("n2", 0)]
        assert [gpu["energy_j"] for gpu in answer["gpus"]] == pytest.approx([joules(g) for g in range(3)])
