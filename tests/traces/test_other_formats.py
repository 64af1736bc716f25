"""dmon, pmon, -q, -q -x, dcgmi, exposition text and Prometheus' JSON, made up small."""

import json

import pytest


@pytest.fixture
def replayed(wattshed, tmp_path):
    def run(text, *flags):
        path = tmp_path / "trace"
        path.write_text(text)
        code, out, err = wattshed("replay", path, "--format", "json", *flags)
        return (json.loads(out) if code == 0 else None), err

    return run


def joules(answer):
    return {(gpu["host"], gpu["uuid"] or gpu["gpu"]): gpu["energy_j"] for gpu in answer["gpus"]}


def test_dmon_with_date_and_time(replayed):
    head = "#Date       Time        gpu    pwr  gtemp     sm\n#YYYYMMDD   HH:MM:SS    Idx      W      C      %\n"
    rows = "".join(
        f" 20240305   10:00:{t:02d}      {g}    {100 + g}     40     50\n" for t in range(11) for g in (0, 1)
    )
    answer, _ = replayed(head + rows[: len(rows) // 2] + head + rows[len(rows) // 2 :])
    assert joules(answer) == {("", 0): 1000, ("", 1): 1010}
    assert answer["sources"][0]["format"] == "nvidia-smi-dmon"
    assert answer["start_s"] == 1709632800


def test_dmon_without_times_is_a_second_a_round(replayed):
    rows = "# gpu    pwr  gtemp\n# Idx      W      C\n" + "    0     69     41\n    1     71     41\n" * 11
    answer, err = replayed(rows)
    assert joules(answer) == {("", 0): 690, ("", 1): 710}
    assert "one second" in err


def test_dmon_with_time_only_goes_past_midnight(replayed):
    rows = "#Time        gpu    pwr\n#HH:MM:SS    Idx      W\n"
    rows += "".join(f" 23:59:{t}      0    100\n" for t in (58, 59)) + "".join(
        f" 00:00:0{t}      0    100\n" for t in (0, 1)
    )
    answer, err = replayed(rows)
    assert answer["total_j"] == 300
    assert "1970-01-01" in err


def test_dmon_as_csv_with_missing_readings(replayed):
    head = "#Date, Time, gpu, pwr\n#YYYYMMDD, HH:MM:SS, Idx, W\n"
    answer, _ = replayed(
        head + "".join(f"20240305, 10:00:0{t}, 0, {power}\n" for t, power in enumerate(["100", "-", "100"]))
    )
    assert answer["total_j"] == 200
    assert answer["sources"][0]["rejected"] == {"not_available": 1}


def test_pmon_has_no_power_but_says_who(replayed):
    head = "#Date       Time        gpu         pid   type     sm    mem    command\n"
    head += "#YYYYMMDD   HH:MM:SS    Idx           #    C/G      %      %    name\n"
    rows = "".join(f" 20240305   10:00:{t:02d}      0       1234     C     50      -    train\n" for t in range(11))
    answer, _ = replayed(head + rows)
    assert answer["total_j"] == 0
    assert [(job["job"], job["gpu_s"]) for job in answer["jobs"]] == [("pid:1234", 10)]


def test_dcgmi_dmon(replayed):
    head = "#Entity   GPUTL  POWER  TOTEC\nID               W      mJ\n"
    rows = "".join(
        f"GPU 0     50     100.5    {100_500 * t + 9}\nGPU 1     50     200.0    {200_000 * t + 9}\n" for t in range(11)
    )
    answer, _ = replayed(head + rows)
    assert joules(answer) == {("", 0): 1005, ("", 1): 2000}
    assert {gpu["method"] for gpu in answer["gpus"]} == {"counter"}


QUERY = """
==============NVSMI LOG==============

Timestamp                                 : Tue Mar  5 10:00:{second:02d} 2024
Driver Version                            : 550.54
Attached GPUs                             : 1
GPU 00000000:07:00.0
    Product Name                          : NVIDIA H100
    Product Architecture                  : Hopper
    GPU UUID                              : GPU-aa
    Utilization
        Gpu                               : 50 %
    GPU Power Readings
        Average Power Draw                : {watts} W
        Instantaneous Power Draw          : 999.00 W
        Current Power Limit               : 700.00 W
    GPU Memory Power Readings
        Average Power Draw                : 43.19 W
    Module Power Readings
        Average Power Draw                : 5000.00 W
"""


def test_query_text(replayed):
    answer, _ = replayed("".join(QUERY.format(second=t, watts="100.00") for t in range(11)))
    assert joules(answer) == {("", "GPU-aa"): 1000}
    assert answer["gpus"][0]["model"] == "NVIDIA H100"


XML = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
 <timestamp>Tue Mar  5 10:00:{second:02d} 2024</timestamp>
 <driver_version>550.54</driver_version>
 <gpu id="00000000:07:00.0">
  <product_name>NVIDIA GB200</product_name>
  <uuid>GPU-aa</uuid>
  <gpu_power_readings><average_power_draw>{watts} W</average_power_draw>
   <instant_power_draw>150.00 W</instant_power_draw><max_power_limit>1200.00 W</max_power_limit></gpu_power_readings>
  <gpu_memory_power_readings><average_power_draw>30.26 W</average_power_draw></gpu_memory_power_readings>
  <module_power_readings><average_power_draw>467.17 W</average_power_draw></module_power_readings>
 </gpu>
</nvidia_smi_log>
"""


def test_stream_of_xml(replayed):
    answer, _ = replayed("".join(XML.format(second=t, watts="100.00") for t in range(11)))
    assert joules(answer) == {("", "GPU-aa"): 1000}
    assert answer["sources"][0]["rows"] == 11


def test_old_xml_and_absent_average(replayed):
    old = XML.replace("gpu_power_readings", "power_readings").replace("average_power_draw", "power_draw")
    answer, _ = replayed("".join(old.format(second=t, watts="100.00") for t in range(3)))
    assert answer["total_j"] == 200
    answer, _ = replayed("".join(XML.format(second=t, watts="N/A").replace("N/A W", "N/A") for t in range(3)))
    assert answer["total_j"] == 300


def test_xml_that_declares_entities_is_refused(replayed):
    bomb = (
        '<?xml version="1.0"?><!DOCTYPE nvidia_smi_log [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><nvidia_smi_log>&b;\n'
    )
    answer, _ = replayed(bomb + "".join(XML.format(second=t, watts="1.00") for t in range(2)))
    assert answer["sources"][0]["rejected"] == {"damaged": 1}
    assert answer["gpus"][0]["samples"] == 2


def test_openmetrics_with_counter_resets_and_escapes(replayed):
    lines = ["# TYPE wattshed_gpu_energy_joules counter", "# UNIT wattshed_gpu_energy_joules joules"]
    for t in range(21):
        value = 100.0 * (t if t < 10 else t - 10)
        lines.append(f'wattshed_gpu_energy_joules_total{{gpu_uuid="GPU-1",host="a\\"b"}} {value} {1700000000 + t}')
    answer, _ = replayed("\n".join([*lines, "# EOF"]))
    assert joules(answer) == {('a"b', "GPU-1"): 1900}  # what the second of the reset used, nobody knows
    assert answer["gpus"][0]["counter_resets"] == 1


def test_prometheus_text_counts_milliseconds(replayed):
    text = "".join(f'nvidia_smi_power_draw_watts{{uuid="ab"}} 100 {1700000000000 + 1000 * t}\n' for t in range(11))
    answer, _ = replayed(text)
    assert joules(answer) == {("", "GPU-ab"): 1000}


SCRAPE = """# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="GPU-1",Hostname="n",modelName="T4"}} 50
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="0",UUID="GPU-1",Hostname="n",modelName="T4"}} {counter}
"""


def test_scrapes_without_times_count_by_the_counter(replayed):
    answer, err = replayed("".join(SCRAPE.format(counter=5000 + 700_000 * t) for t in range(5)))
    assert joules(answer) == {("n", "GPU-1"): 2800}
    assert "no times" in err
    assert answer["sources"][0]["format"] == "dcgm-exporter"


def test_scrapes_without_times_and_counter_are_refused(replayed):
    power = SCRAPE.splitlines()[1].format(counter=0) + "\n"
    answer, err = replayed(power * 5)
    assert answer is None
    assert "power cannot be integrated" in err


def matrix(*series):
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(series)}})


def test_prometheus_json_power_and_energy_and_stale_markers(replayed):
    labels = {"UUID": "GPU-1", "gpu": "0", "instance": "node7:9400"}
    power = [[1700000000 + t, "NaN" if t == 3 else "100"] for t in range(11)]
    energy = [[1700000000 + t, str(100_000 * t + 3)] for t in range(11)]
    answer, _ = replayed(
        matrix(
            {"metric": {"__name__": "DCGM_FI_DEV_POWER_USAGE", **labels}, "values": power},
            {"metric": {"__name__": "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", **labels}, "values": energy},
            {"metric": {"__name__": "up"}, "values": [[1700000000, "1"]]},
        )
    )
    assert joules(answer) == {("node7", "GPU-1"): 1000}
    assert answer["gpus"][0]["power_j"] == 1000
    assert answer["sources"][0]["rejected"] == {"not_available": 1}


def test_power_and_energy_in_two_files_meet(wattshed, tmp_path):
    labels = {"UUID": "GPU-1", "Hostname": "n"}
    for name, metric, value in (("p", "DCGM_FI_DEV_POWER_USAGE", lambda t: "100"),
                                ("e", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", lambda t: str(99_000 * t))):  # fmt: skip
        values = [[1700000000 + t, value(t)] for t in range(11)]
        (tmp_path / name).write_text(matrix({"metric": {"__name__": metric, **labels}, "values": values}))
    code, out, _ = wattshed("replay", tmp_path / "p", tmp_path / "e", "--format", "json")
    (gpu,) = json.loads(out)["gpus"]
    assert (code, gpu["energy_j"], gpu["power_j"]) == (0, 990, 1000)


def test_expression_without_names_is_taken_for_watts(replayed):
    answer, err = replayed(matrix({"metric": {"gpu": "2"}, "values": [[t, "100"] for t in range(0, 100, 10)]}))
    assert joules(answer) == {("", 2): 9000}
    assert "taken for watts" in err


SESSION = """# nvidia_gpu_exporter GPU capture of one node
$ nvidia-smi
| 2024/03/05 10:00:00.000, 0, 900.00 W |
# $ nvidia-smi --query-gpu=timestamp,index,power.draw --format=csv
what it printed before the header

timestamp, index, power.draw [W]
# a remark of whoever captured it, with, commas
2024/03/05 10:00:00.000, 0, 100.00 W
2024/03/05 10:00:00.000, 1, 200.00 W
2024/03/05 10:00:01.000, 0
$ nvidia-smi --query-gpu=index,pstate --format=csv
index, pstate
0, P0
$ nvidia-smi --help-query-gpu
"power.draw"
2024/03/05 10:00:01.000, 0, 900.00 W
$ nvidia-smi --query-gpu=power.draw,timestamp,index --format=csv
power.draw [W], timestamp, index
300.00 W, 2024/03/05 10:00:01.000, 0
400.00 W, 2024/03/05 10:00:01.000, 1
"""


def test_the_queries_of_a_captured_session_are_read_each_by_its_own_header(replayed):
    answer, _ = replayed(SESSION)
    assert joules(answer) == {("", 0): 200, ("", 1): 300}
    (source,) = answer["sources"]
    assert (source["format"], source["rows"]) == ("nvidia-smi-session", 5)
    assert source["rejected"] == {"wrong_number_of_columns": 1}


def test_an_index_that_is_0_throughout_names_no_gpu_of_a_session(replayed):
    rows = "".join(
        f"2024/03/05 10:00:0{k}.000, 0, 13220{g}, {w}.00 W\n" for k in range(4) for g, w in enumerate((300, 400))
    )
    answer, _ = replayed(
        f"{SESSION.partition(chr(10))[0]}\n$ nvidia-smi --query-gpu=timestamp,index,serial,power.draw\n"
        f"timestamp, index, serial, power.draw [W]\n{rows}"
    )
    assert sorted(joules(answer).values()) == [900, 1200]


SERIES = {0: [100, 110, 120], 1: [200, 200, 200]}
STAMPS = [1700000000, 1700000015, 1700000030]
JOULES = {("n1", 0): 30 * 110, ("n1", 1): 30 * 200}


def labels(gpu, **more):
    return {**more, "Hostname": "n1", "gpu": str(gpu)}


def test_an_export_of_victoria_metrics(replayed):
    lines = [
        {"metric": labels(gpu, __name__="DCGM_FI_DEV_POWER_USAGE"), "values": list(watts),
         "timestamps": [t * 1000 for t in STAMPS]}
        for gpu, watts in SERIES.items()
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    answer, _ = replayed(text)
    assert joules(answer) == JOULES
    answer, err = replayed(text[:-40])
    assert answer is None
    assert "cut off" in err
    lines[0]["values"][1] = None
    answer, _ = replayed("".join(json.dumps(line) + "\n" for line in lines))
    assert answer["sources"][0]["rejected"] == {"not_available": 1}


def test_the_bare_result_of_a_query(replayed):
    members = [
        {"metric": labels(gpu, __name__="DCGM_FI_DEV_POWER_USAGE"),
         "values": [[t, str(w)] for t, w in zip(STAMPS, watts, strict=True)]}
        for gpu, watts in SERIES.items()
    ]  # fmt: skip
    answer, _ = replayed(json.dumps(members, indent=1))
    assert joules(answer) == JOULES


def test_promtool_tsdb_dump(replayed):
    text = "".join(
        f'{{__name__="DCGM_FI_DEV_POWER_USAGE", Hostname="n1", gpu="{gpu}", instance="n1:9400"}} {watts} {stamp}000\n'
        for gpu, series in SERIES.items()
        for stamp, watts in zip(STAMPS, series, strict=True)
    )
    answer, _ = replayed(text)
    assert joules(answer) == JOULES


def test_promtool_query_range(replayed):
    text = "".join(
        f'DCGM_FI_DEV_POWER_USAGE{{Hostname="n1", gpu="{gpu}"}} =>\n'
        + "".join(f"{watts} @[{stamp}]\n" for stamp, watts in zip(STAMPS, series, strict=True))
        + 'DCGM_FI_DEV_SM_CLOCK{Hostname="n1", gpu="0"} =>\n1980 @[1700000000]\n'
        for gpu, series in SERIES.items()
    )
    answer, err = replayed(text)
    assert joules(answer) == JOULES
    assert "left out: DCGM_FI_DEV_SM_CLOCK" in err
    answer, _ = replayed(text.replace("DCGM_FI_DEV_POWER_USAGE{", '{__name__="DCGM_FI_DEV_POWER_USAGE", '))
    assert joules(answer) == JOULES
