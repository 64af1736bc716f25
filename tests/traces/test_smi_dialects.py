"""One log of nvidia-smi in every dialect that it is met in: the joules must not depend on the writing."""

import gzip
import json

import pytest

START = "2024/03/05 10:00:%02d.%03d"
TICKS = [(t // 10, t % 10 * 100) for t in range(100)]


def watts(gpu, tick):
    return 100 + 50 * gpu + (tick * 7 % 13) + 0.25 * (tick % 4)


def expected():
    """Trapezoid of each GPU in J; ticks are 100 ms apart."""
    return [sum((watts(g, t) + watts(g, t + 1)) / 2 * 0.1 for t in range(len(TICKS) - 1)) for g in (0, 1)]


def log(header, row, newline="\n", separator=", ", repeat_header=False):
    lines = [separator.join(header)] if header else []
    for tick, (second, milli) in enumerate(TICKS):
        if repeat_header and tick == 50:
            lines.append(separator.join(header))
        lines += [separator.join(row(START % (second, milli), gpu, watts(gpu, tick))) for gpu in (0, 1)]
    return newline.join(lines) + newline


UNITS = ["timestamp", "index", "name", "utilization.gpu [%]", "power.draw [W]", "power.limit [W]"]


def with_units(stamp, gpu, power):
    return [stamp, str(gpu), "NVIDIA A100-SXM4-40GB", "37 %", f"{power:.2f} W", "400.00 W"]


def without_units(stamp, gpu, power):
    return [stamp, str(gpu), "NVIDIA A100-SXM4-40GB", "37", f"{power:.2f}", "400.00"]


def comma(cells):
    return [cell if ":" in cell else cell.replace(".", ",") for cell in cells]


def by_uuid(stamp, gpu, power):
    return [stamp, f"GPU-1111111{gpu}-0000-0000-0000-000000000000", f"{power:.2f} W"]


def by_bus(stamp, gpu, power):
    return [stamp, f"00000000:{gpu}7:00.0", f"{power:.2f} W"]


PLAIN = log(UNITS, with_units)
DIALECTS = {
    "units": PLAIN.encode(),
    "nounits": log(UNITS, without_units).encode(),
    "noheader": log(None, with_units).encode(),
    "noheader,nounits": log(None, without_units).encode(),
    "noheader, by uuid": log(None, by_uuid).encode(),
    "windows line ends": PLAIN.replace("\n", "\r\n").encode(),
    "byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "powershell utf-16": PLAIN.replace("\n", "\r\n").encode("utf-16"),
    "utf-16 without mark": PLAIN.encode("utf-16-le"),
    "decimal comma": log(UNITS, lambda *a: comma(with_units(*a))).encode(),
    "decimal comma, nounits": log(UNITS, lambda *a: comma(without_units(*a))).encode(),
    "semicolons and decimal comma": log(UNITS, lambda *a: comma(without_units(*a)), separator=";").encode(),
    "quoted cells": log(UNITS, lambda *a: [f'"{c}"' for c in with_units(*a)], separator=",").encode(),
    "tabs": log(UNITS, with_units, separator="\t").encode(),
    "no blanks": log(UNITS, without_units, separator=",").encode(),
    "started again": log(UNITS, with_units, repeat_header=True).encode(),
    "by uuid": log(["timestamp", "uuid", "power.draw [W]"], by_uuid).encode(),
    "by bus": log(["timestamp", "pci.bus_id", "power.draw [W]"], by_bus).encode(),
    "instant only": log(["timestamp", "uuid", "power.draw.instant [W]"], by_uuid).encode(),
    "no final newline": PLAIN.rstrip("\n").encode(),
    "blank lines": PLAIN.replace("\n", "\n\n").encode(),
    "gzip": gzip.compress(PLAIN.encode()),
    "gzip in two members": gzip.compress(PLAIN[:3000].encode()) + gzip.compress(PLAIN[3000:].encode()),
    "no index, equal stamps": log(["timestamp", "power.draw [W]"], lambda s, g, p: [s, f"{p:.2f} W"]).encode(),
    "iso times": PLAIN.replace("2024/03/05 ", "2024-03-05T").encode(),
    "day first": PLAIN.replace("2024/03/05", "25.03.2024").encode(),
    "american": PLAIN.replace("2024/03/05", "3/25/2024").encode(),
    "latin-1 noise": PLAIN.replace("NVIDIA A100", "NVIDIA\xb5A100").encode("latin-1"),
    "rows of GPU 0 before those of GPU 1": "".join(
        sorted(PLAIN.splitlines(keepends=True)[1:], key=lambda line: line.split(", ")[1])
    ).join([PLAIN.split("\n", 1)[0] + "\n", ""]).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_same_joules_in_every_dialect(name, wattshed, tmp_path):
    path = tmp_path / "anything.dat"
    path.write_bytes(DIALECTS[name])
    code, out, err = wattshed("replay", path, "--format", "json")
    assert code == 0, err
    answer = json.loads(out)
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == pytest.approx(expected(), rel=1e-9)
    assert answer["sources"][0]["format"] == "nvidia-smi-csv"
    assert answer["sources"][0]["rows"] == 200
    assert answer["sources"][0]["rejected"] == {}


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("[N/A]", "not_available"),
        ("N/A", "not_available"),
        ("[Not Supported]", "not_available"),
        ("[Unknown Error]", "unknown_error"),
        ("[GPU is lost]", "unknown_error"),
        ("", "empty"),
        ("-5.00 W", "negative"),
        ("0.00 W", "zero"),
        ("99999.00 W", "above_ceiling"),
        ("1300.00 W", "above_ceiling"),  # three times the limit of 400 W is 1200 W
        ("garbage", "not_a_number"),
        ('"100.00 W, 101.00 W"', "packed"),
    ],
)
def test_cells_that_are_no_reading_are_counted_and_never_zero(cell, reason, wattshed, tmp_path):
    lines = PLAIN.splitlines()
    bad = lines[41].split(", ")
    bad[4] = cell
    lines[41] = ", ".join(bad)
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines) + "\n")
    code, out, err = wattshed("replay", path, "--format", "json")
    answer = json.loads(out)
    assert code == 0
    assert answer["sources"][0]["rejected"] == {reason: 1}
    assert answer["sources"][0]["rows_rejected"] == 1
    assert f"{reason} 1" in err
    gpu = answer["gpus"][0]  # line 41 is a row of GPU 0: bridged from the sample before to the one after
    assert gpu["samples"] == 99
    assert gpu["power_w"]["min"] >= 100
    assert gpu["energy_j"] == pytest.approx(expected()[0], rel=0.01)


def test_naive_times_in_the_hour_that_comes_twice(wattshed, tmp_path):
    """On 27 October 2024 Berlin's clocks went from 02:59:59 back to 02:00:00."""
    rows = ["timestamp, index, power.draw [W]"]
    rows += [f"2024/10/27 02:{minute % 60:02d}:00.000, 0, 100.00 W" for minute in range(120)]  # through both hours
    rows.append("2024/10/27 03:00:00.000, 0, 100.00 W")
    path = tmp_path / "x.csv"
    path.write_text("\n".join(rows) + "\n")
    code, out, _ = wattshed("replay", path, "--format", "json", "--timezone", "Europe/Berlin")
    answer = json.loads(out)
    assert code == 0
    assert answer["end_s"] - answer["start_s"] == 7200
    assert answer["gpus"][0]["energy_j"] == 7200 * 100
    assert answer["start_s"] == 1729987200  # 00:00 UTC


def test_two_hundred_and_forty_columns(wattshed, tmp_path):
    names = ["timestamp", "index", *(f"field.{i}" for i in range(237)), "power.draw [W]"]
    rows = [", ".join(names)]
    for tick, (second, milli) in enumerate(TICKS):
        cells = [START % (second, milli), "0", *(["[N/A]"] * 237), f"{watts(0, tick):.2f} W"]
        rows.append(", ".join(cells))
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(rows) + "\n")
    code, out, _ = wattshed("replay", path, "--format", "json")
    assert code == 0
    assert json.loads(out)["total_j"] == pytest.approx(expected()[0], rel=1e-9)


def test_power_draw_that_is_absent_falls_back_to_instant(wattshed, tmp_path):
    header = ["timestamp", "index", "power.draw [W]", "power.draw.average [W]", "power.draw.instant [W]"]
    path = tmp_path / "x.csv"
    path.write_text(log(header, lambda s, g, p: [s, str(g), "[N/A]", "[N/A]", f"{p:.2f} W"]))
    _, out, _ = wattshed("replay", path, "--format", "json")
    answer = json.loads(out)
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == pytest.approx(expected(), rel=1e-9)
    assert answer["sources"][0]["rejected"] == {}


def test_frozen_sensor_is_flagged(wattshed, tmp_path):
    rows = ["timestamp, index, power.draw [W]"]
    rows += [f"2024/03/05 10:{t // 60:02d}:{t % 60:02d}.000, 0, 46.19 W" for t in range(120)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(rows) + "\n")
    _, out, _ = wattshed("replay", path, "--format", "json")
    assert "frozen_sensor" in json.loads(out)["gpus"][0]["flags"]


def test_a_gap_is_not_bridged(wattshed, tmp_path):
    lines = [line for i, line in enumerate(PLAIN.splitlines()) if not 61 <= i <= 180]  # 6 s of 10 are missing
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines) + "\n")
    _, out, _ = wattshed("replay", path, "--format", "json")
    gpu = json.loads(out)["gpus"][0]
    assert (gpu["gaps"], gpu["gap_s"]) == (1, pytest.approx(6.1))
    assert gpu["covered_s"] == pytest.approx(gpu["span_s"] - gpu["gap_s"])
    _, out, _ = wattshed("replay", path, "--format", "json", "--max-gap", "7")
    assert json.loads(out)["gpus"][0]["gaps"] == 0


def test_quoted_decimal_commas_after_comma_and_blank(wattshed, tmp_path):
    rows = "".join(f'2024/05/01 10:00:{s:02d}.000, 0, "100,50 W"\n' for s in range(11))
    log = tmp_path / "log.csv"
    log.write_text("timestamp, index, power.draw [W]\n" + rows)
    code, out, _ = wattshed("replay", log, "--format", "csv")
    assert code == 0
    assert "total,,,,1005.000000" in out
