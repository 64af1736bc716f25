"""Text of other tools, made up small: nvidia-smi stats, tegrastats, jtop, PTDaemon, telegraf's lines."""

import json

import pytest


@pytest.fixture
def replayed(wattshed, tmp_path):
    def run(text, *flags, shown="json"):
        path = tmp_path / "log"
        path.write_text(text)
        code, out, err = wattshed("replay", path, "--format", shown, *flags)
        return (None if code else json.loads(out) if shown == "json" else out), err

    return run


def trapezoid(times, watts):
    return sum((b - a) * (p + q) / 2 for a, b, p, q in zip(times, times[1:], watts, watts[1:], strict=False))


def joules(answer):
    return {(gpu["host"], gpu["gpu"]): gpu["energy_j"] for gpu in answer["gpus"]}


def test_samples_of_the_driver(replayed):
    times = [1515942330.0 + 0.02 * n for n in range(50)]
    watts = [100 + n % 7 for n in range(50)]
    rows = [
        f"{gpu}, pwrDraw , {round(t * 1e6)}, {w + gpu}" for gpu in (0, 1) for t, w in zip(times, watts, strict=True)
    ]
    rows += [f"0, temp    , {round(t * 1e6)}, 51\n0, gpuUtil , {round(t * 1e6)}, 99" for t in times]
    answer, _ = replayed("\n".join(rows) + "\n")
    assert answer["sources"][0]["format"] == "nvidia-smi-stats"
    assert joules(answer) == pytest.approx(
        {("", gpu): trapezoid(times, [w + gpu for w in watts]) for gpu in (0, 1)}, abs=1e-5
    )


def test_samples_of_the_driver_without_power(replayed):
    answer, err = replayed("0, temp    , 1515942330734500, 51\n" * 3)
    assert answer is None
    assert "no pwrDraw (nvidia-smi stats -d pwrDraw)" in err


TEGRA = "RAM 2274/6834MB (lfb 27x4MB) SWAP 542/3417MB (cached 2MB) CPU [99%@1189,off] EMC_FREQ 0% GR3D_FREQ {util}% "
TEGRA += "AUX@36.5C CPU@40C {rails}"
RAILS = {
    "VDD_IN": "VDD_IN {0}mW/5542mW VDD_CPU_GPU_CV 1594mW/1594mW VDD_SOC 1234mW/1234mW",
    "POM_5V_IN": "POM_5V_IN {0}/943 POM_5V_GPU 0/0 POM_5V_CPU 123/123",
    "VIN": "VDD_GPU 0mW/0mW VDD_CPU_SOC_MSS 4000mW/4000mW VIN_SYS_5V0 5000mW/5000mW VIN {0}mW/25000mW",
}


@pytest.mark.parametrize("rail", RAILS)
def test_the_input_of_a_jetson_is_the_whole_module(replayed, rail):
    watts = [5.5, 6.25, 4.125, 5.0]
    lines = [
        f"10-01-2025 20:05:{55 + t} " + TEGRA.format(util=10 * t, rails=RAILS[rail].format(round(1000 * w)))
        for t, w in enumerate(watts)
    ]
    answer, err = replayed("\n".join(lines))
    assert answer["total_j"] == trapezoid(range(4), watts)
    assert answer["start_s"] == 1759349155
    assert answer["sources"][0]["boundary"] == f"Jetson module ({rail})"
    assert f"the whole module ({rail}), processors and memory included, not of the GPU" in err
    text, _ = replayed("\n".join(lines), shown="table")
    assert f"Energy is of the Jetson module ({rail}), ± two sigma; it is not that of single GPU boards." in " ".join(
        text.split()
    )


def test_what_a_jetson_cost_is_not_said_of_boards(replayed):
    text = "".join(f"10-01-2025 20:05:5{t} {TEGRA.format(util=1, rails='VDD_IN 5000mW/1mW')}\n" for t in range(3))
    notes = replayed(text, "--price", "0.3")[0]["report"]["notes"]
    assert notes[0].endswith(
        "Energy is of the Jetson module (VDD_IN), ± two sigma; it is not that of single GPU boards."
    )
    assert any(note.endswith(", of that energy.") for note in notes)


def test_a_jetson_without_an_input_is_the_sum_of_its_rails_and_of_none_twice(replayed):
    rails = "VDD_GPU_SOC 2400mW/2400mW VDD_CPU_CV 400mW/400mW VIN_SYS_5V0 4000mW/4000mW NC 0mW/0mW "
    rails += "VDDQ_VDD2_1V8AO 301mW/301mW"
    lines = [f"2025-10-01T20:05:{55 + t}.500 " + TEGRA.format(util=1, rails=rails) for t in range(3)]
    answer, _ = replayed("\n".join(lines))
    assert answer["total_j"] == 2 * 6.8
    assert answer["sources"][0]["boundary"] == "Jetson module (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0)"
    xavier = "GPU 0/0 CPU 155/155 SOC 777/777 CV 0/0 VDDRQ 155/155 SYS5V 1364/1364"
    answer, _ = replayed("\n".join(f"May 04 04:27:3{t} " + TEGRA.format(util=1, rails=xavier) for t in range(3)))
    assert answer["total_j"] == pytest.approx(2 * 2.451)


def test_a_line_of_other_rails_is_left_out(replayed):
    lines = [f"10-01-2025 20:05:5{t} " + TEGRA.format(util=1, rails="VDD_IN 5000mW/1mW") for t in range(4)]
    lines[1] = lines[1].replace("VDD_IN", "VDD_SOC")
    answer, _ = replayed("\n".join(lines))
    assert answer["total_j"] == 15
    assert answer["sources"][0]["rejected"] == {"other_rails": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEGRA.format(util=1, rails="VDD_IN 5000mW/1mW"), "its lines have no times"),
        ("10-01-2025 20:05:55 " + TEGRA.format(util=1, rails=""), "it contains no rail of power (VDD_IN"),
    ],
)
def test_what_cannot_be_read_of_a_jetson(replayed, text, said):
    answer, err = replayed(f"{text}\n{text}\n")
    assert answer is None
    assert said in err


def test_lines_of_a_jetson_without_times_are_as_far_apart_as_the_user_says(replayed):
    watts = [5.5, 6.25, 4.125, 5.0]
    text = "".join(TEGRA.format(util=1, rails=f"VDD_IN {round(1000 * w)}mW/1mW") + "\n" for w in watts)
    answer, err = replayed(text, "--period", "0.5")
    assert answer["total_j"] == trapezoid([0, 0.5, 1, 1.5], watts)
    assert "rounds are taken to be 0.5 s apart" in err


def test_a_table_of_jtop(replayed):
    head = "time,uptime,CPU1,RAM,GPU,Temp CPU,Power VDD_CPU_GPU_CV,Power VDD_SOC,Power TOT,jetson_clocks,nvp model\n"
    watts = [5.0, 6.0, 5.5]
    rows = [
        f'2023-07-05 14:11:3{t}.25,"1 day, 0:11:2{t}",5,0.4,{30 + t},40,1000,1200,{round(1000 * w)},OFF,MAXN\n'
        for t, w in enumerate(watts)
    ]
    answer, err = replayed(head + "".join(rows))
    assert joules(answer) == {("", 0): trapezoid(range(3), watts)}
    assert answer["gpus"][0]["model"] == "Jetson module"
    assert answer["sources"][0]["boundary"] == "Jetson module (jtop's Power TOT)"
    assert "which GPU" not in err


def spl(t, watts, mark="a_testing"):
    channels = f"Ch1,Watts,{watts / 3},Volts,232.68,Amps,5.2,PF,0.96,Ch2,Watts,{watts / 3},Volts,230.01"
    return f"Time,03-07-2021 14:27:{33 + t}.707,Watts,{watts:f},Volts,-1.0,Amps,-1.0,PF,-1.0,Mark,{mark},{channels}\n"


def test_an_analyser_sees_a_system(replayed):
    watts = [3472.2, 3466.5, -1, 3470.9]
    answer, err = replayed("".join(spl(t, w) for t, w in enumerate(watts)))
    assert joules(answer) == {("", 0): pytest.approx(trapezoid([0, 1, 3], [3472.2, 3466.5, 3470.9]))}
    assert answer["start_s"] == 1615127253.707
    assert answer["gpus"][0]["model"] == "power analyser"
    assert answer["sources"][0]["boundary"] == "system on a power analyser"
    assert answer["sources"][0]["rejected"] == {"negative": 1}
    assert "not of GPUs; it is read as one meter" in err


def test_several_runs_of_an_analyser_are_said(replayed):
    text = "".join(spl(t, 1000, f"run{t}") for t in range(5))
    assert "5 runs one after the other, all of which count (run0, run1, run2, ...)" in replayed(text)[1]


def test_what_the_total_adds_is_said_where_boundaries_differ(wattshed, tmp_path):
    (tmp_path / "spl.txt").write_text("".join(spl(t, 1000) for t in range(3)))
    rows = "".join(f"{1615127253 + t},0,100\n" for t in range(3))
    (tmp_path / "gpu.csv").write_text("timestamp,gpu,power_w\n" + rows)
    _, out, _ = wattshed("replay", tmp_path / "spl.txt", tmp_path / "gpu.csv")
    text = " ".join(out.split())
    assert "not of one kind of thing (gpu.csv: the GPU board; spl.txt: the system on a power analyser)" in text
    assert text.endswith("± two sigma; what the total adds may overlap.")


TELEGRAF = (
    "nvidia_smi,compute_mode=Default,host=n1,index={gpu},name=NVIDIA\\ A100\\ 80GB,pstate=P0,uuid=GPU-{gpu}a "
    'driver_version="550.1, x",fan_speed=100i,memory_free=7563i,power_draw={watts},power_limit=400,utilization_gpu=98i '
    "{ns}\n"
)


def test_lines_of_telegraf(replayed):
    times = [1523991122.5 + 10 * t for t in range(5)]
    watts = [54.3, 60, 71.25, 300, 12]
    text = "# DML\n" + "".join(
        TELEGRAF.format(gpu=g, watts=w + g, ns=round(t * 1e9)) + f"cpu,host=n1 usage_idle=9 {round(t * 1e9)}\n"
        for t, w in zip(times, watts, strict=True)
        for g in (0, 1)
    )
    answer, _ = replayed(text)
    assert joules(answer) == pytest.approx({("n1", g): trapezoid(times, [w + g for w in watts]) for g in (0, 1)})
    assert answer["start_s"] == times[0]
    assert {gpu["model"] for gpu in answer["gpus"]} == {"NVIDIA A100 80GB"}
    assert answer["sources"][0]["format"] == "line-protocol"


def test_exporters_that_telegraf_scraped(replayed):
    lines = []
    for t in range(3):
        ns = (1523991122 + t) * 10**9
        lines.append(f"DCGM_FI_DEV_POWER_USAGE,gpu=0,Hostname=n1 gauge={50 + t} {ns}")
        lines.append(f"prometheus,gpu=1,Hostname=n1 DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION={1000 + 9000 * t},up=1 {ns}")
    answer, _ = replayed("\n".join(lines))
    assert joules(answer) == {("n1", 0): 102, ("n1", 1): 18}


def test_lines_without_power(replayed):
    answer, err = replayed("cpu,host=n1 usage_idle=9 1523991122000000000\n" * 3)
    assert answer is None
    assert "no field of GPU power or energy (power_draw of nvidia_smi)" in err
