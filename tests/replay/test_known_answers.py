"""Real recordings: energies that were computed independently, and every file cut anywhere."""

import csv
import gzip
import json
import random

import numpy as np
import pytest

from tests.replay import pmd
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.columns import parse_spec
from wattshed.agent.inputs.timestamps import zone
from wattshed.agent.replay.books import Settings, book, finish, merge, new_part, pieces_of
from wattshed.agent.replay.report import as_json, document
from wattshed.agent.traces.jobs.jobs_file import gpu_share_seconds, parse_job_columns, read_jobs
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

LONG = "time=timestamp,gpu=gpu,power=power_w,energy=energy_mj:mJ"


def replayed(paths, spec=None):
    options = Options(parse_spec(spec) if spec else None)
    parts = []
    for chain in find([str(path) for path in paths], options):
        part = new_part(Settings(options))
        for piece in pieces_of(chain):
            book(piece, Settings(options), part)
        parts.append(finish(part))
    return json.loads(as_json(document(merge(parts))))


def total(answer, key="energy_j"):
    return sum(gpu[key] for gpu in answer["gpus"])


@pytest.mark.parametrize("spec", [LONG, None])
def test_eight_gpus_at_ten_hertz(traces, spec):
    answer = replayed([traces / "h100-2node/t2_telemetry.csv.gz"], spec)
    assert total(answer) == pytest.approx(1_320_294.4, rel=1e-6)
    assert total(answer, "power_j") == pytest.approx(1_320_426.0, rel=1e-6)
    assert {gpu["method"] for gpu in answer["gpus"]} == {"counter"}


def test_eight_processes(traces):
    answer = replayed([traces / "h100-2node/i4_telemetry.csv.gz"])
    assert total(answer) == pytest.approx(515_577.7, rel=1e-6)
    assert total(answer, "power_j") == pytest.approx(515_838.9, rel=1e-6)


def test_a_hole_in_a_recording_is_the_counters(traces, tmp_path):
    """4.9 s are cut out of it, and two GPUs' first reading after that is stale: no counter is stuck by that."""
    with gzip.open(traces / "h100-2node/t2_telemetry.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    stamps = sorted({row["timestamp"] for row in rows}, key=float)
    begin = float(stamps[len(stamps) // 2])
    back = next(stamp for stamp in stamps if float(stamp) >= begin + 4.9)
    before = {row["gpu"]: row for row in rows if float(row["timestamp"]) <= begin}
    kept = [row for row in rows if not begin < float(row["timestamp"]) < float(back)]
    for row in kept:
        if row["timestamp"] == back and row["gpu"] in {"2", "5"}:
            row["energy_mj"] = before[row["gpu"]]["energy_mj"]
    with (tmp_path / "t2.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(kept)
    counted = {}
    for row in rows:
        counted.setdefault(row["gpu"], []).append(int(row["energy_mj"]))
    answer = replayed([tmp_path / "t2.csv"])
    assert {str(gpu["gpu"]): gpu["energy_j"] for gpu in answer["gpus"]} == {
        gpu: (values[-1] - values[0]) / 1e3 for gpu, values in counted.items()
    }
    assert [gpu["flags"] for gpu in answer["gpus"]] == [[]] * 8


@pytest.mark.parametrize("name", ["t2", "i4", "t13_node0", "t13_node1"])
def test_no_counter_of_a_recording_is_stuck_and_each_is_its_whole_difference(traces, name):
    path = traces / f"h100-2node/{name}_telemetry.csv.gz"
    with gzip.open(path, "rt") as file:
        counted = {}
        for row in csv.DictReader(file):
            counted.setdefault(row["gpu"], []).append(int(row["energy_mj"]))
    for gpu in replayed([path])["gpus"]:
        values = counted[str(gpu["gpu"])]
        assert (gpu["energy_j"], gpu["flags"]) == ((values[-1] - values[0]) / 1e3, [])


def test_two_nodes_in_one_call_keep_their_gpus_apart(traces):
    answer = replayed([traces / f"h100-2node/t13_node{i}_telemetry.csv.gz" for i in (0, 1)], LONG)
    by_host = {host: sum(g["energy_j"] for g in answer["gpus"] if g["host"] == host) for host in ("node0", "node1")}
    assert by_host == pytest.approx({"node0": 1_016_396.7, "node1": 1_168_451.5}, rel=1e-6)
    assert len(answer["gpus"]) == 16


@pytest.mark.parametrize(
    ("name", "joules"),
    [("yang-smi/3090_gpudata.csv.gz", 65_550.80544), ("yang-smi/A100_gpudata.csv", 29_065.67293)]
    + [(f"yang-pmd/{name}/gpudata.csv", joules) for name, joules in
       (("3090_TR", 3813.705303), ("5050_3090", 2872.009716), ("A100_TR", 1775.874698))],
)  # fmt: skip
def test_nvidia_smi_logs(traces, name, joules):
    answer = replayed([traces / name])
    assert total(answer) == pytest.approx(joules, rel=1e-6)


def test_short_holes_of_a_slow_log_are_bridged(traces):
    answer = replayed([traces / "pynvml-2gpu-known-energy/power_log.csv"], "time=timestamp,power=GPU*")
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == pytest.approx([6635.8, 8655.9], abs=0.06)
    assert [gpu["gaps"] for gpu in answer["gpus"]] == [0, 0]


def test_prometheus(traces):
    folder = traces / "derived-prometheus"
    assert total(replayed([folder / "t13_power_range_15s.json"])) == pytest.approx(2_110_478.3, rel=1e-6)
    raw = total(replayed([folder / "t13_power_raw_matrix.json"]))
    openmetrics = replayed([folder / "t13_1s.om.gz"])
    assert total(openmetrics, "power_j") == pytest.approx(raw, rel=1e-9)
    assert total(openmetrics) == pytest.approx(2_184_848.2, rel=2e-3)  # the counter, read once a second only


def test_power_of_the_board_alone(traces):
    """GPU, memory and module stand side by side in one report; only the first is the board's."""
    answer = replayed([traces / "smi-xml/qx-gb200.xml.gz"])
    assert len(answer["gpus"]) == 4
    assert answer["gpus"][0]["power_w"]["max"] == 165.93
    h100 = replayed([traces / "smi-xml/qx-h100.xml.gz"])
    assert len(h100["gpus"]) == 8


def test_captured_sessions(traces):
    for path in sorted((traces / "smi-captures").glob("*.txt")):
        (gpu,) = replayed([path])["gpus"]
        assert gpu["samples"] == 2
        assert gpu["power_w"]["max"] > gpu["power_w"]["min"] > 1


def test_dirty_scrape(traces):
    answer = replayed([traces / "dcgm-text/datadog_t4_metrics.prom"])
    (gpu,) = [gpu for gpu in answer["gpus"] if gpu["samples"]]
    assert (gpu["model"], gpu["power_w"]["max"]) == ("Tesla T4", 8.969)


def test_pods_with_parts_of_gpus(traces):
    spec = "job=name,gpus=num_gpu,share=gpu_milli:milli,start=scheduled_time,end=deletion_time"
    rows = read_jobs(traces / "alibaba-2023/openb_pod_list_default.csv", zone("UTC"), parse_job_columns(spec))
    assert len(rows) == 6203
    assert round(gpu_share_seconds(rows)) == 185_294_427


def test_slurm_tables(traces):
    utc = zone("UTC")
    assert read_jobs(traces / "slurm-sacct/sample-sacct-output.txt", utc) == []  # jobs without GPUs
    (running,) = read_jobs(traces / "slurm-sacct/sample-sacct-running-output.txt", utc)
    assert (running.job, running.host, running.count) == ("slurm:6539485", "learnnode0423", 1)
    assert running.labels["array"] == "6539191_195"
    many = read_jobs(traces / "slurm-sacct/sample-sacct-one-multiline.txt", utc)
    assert {row.job: sum(r.count for r in many if r.job == row.job) for row in many}["slurm:200131"] == 2048


@pytest.mark.parametrize(("name", "percent"), [("A100_TR", -5.6), ("3090_TR", -4.9), ("5050_3090", -7.0)])
def test_nvidia_smi_against_an_external_meter(traces, name, percent):
    folder = traces / "yang-pmd" / name
    window = pmd.load_window(folder)
    truth = pmd.energy(*pmd.read(folder), window)
    options = Options(local=zone("Etc/GMT-1"))  # its stamps are an hour ahead of UTC
    (chain,) = find([str(folder / "gpudata.csv")], options)
    (seen,) = chain.windows(options)
    power = seen.readings.power_mw / 1e3
    said = pmd.energy(seen.readings.time_us / 1e6, power.astype(np.float64), window)
    assert (said / truth - 1) * 100 == pytest.approx(percent, abs=0.1)


def outcome(attempt):
    """Return the one line that a refusal says, empty for an answer; anything else that is raised fails the test."""
    try:
        attempt()
    except InputError as error:
        return str(error)
    return ""


def test_every_file_cut_anywhere_gives_an_answer_or_one_line(traces, tmp_path):
    rng = random.Random(7)
    for path in sorted(path for path in traces.rglob("*") if path.is_file()):
        data = path.read_bytes()
        part = tmp_path / path.name
        for cut in [rng.randrange(len(data) + 1) for _ in range(3)]:
            part.write_bytes(data[:cut])
            for attempt in (lambda: replayed([part]), lambda: read_jobs(part, zone("UTC"))):  # noqa: B023
                said = outcome(attempt)
                assert "\n" not in said
                assert not said or said.startswith(str(part))
        part.unlink()
