"""A table that is read from its bytes says what it says as text: rows, what is rejected and where, and the GPUs."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.inputs import delimited, timestamps
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.inputs.text import head_of
from wattshed.agent.inputs.timestamps import TimestampParser
from wattshed.agent.traces.foreign import naming, smi_csv
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.traces.foreign.table import TableReader
from wattshed.agent.traces.foreign.table_layout import Quantity, TableLayout
from wattshed.kernels import load
from wattshed.kernels.threads import use_threads
from wattshed.kernels.warm import warm_up

HEADER = "timestamp, index, uuid, power.draw [W], utilization.gpu [%], power.limit [W]"
BAD_POWER = [
    "[N/A]", "[Not Supported]", "ERR!", "[Unknown Error]", "-5.00 W", "1e3 W", "12 kW", "1,5 W", "", "9" * 20 + " W",
    "12.3456 W", "nan", ".5 W", "5. W", "000123.40 W", "73.2W", "73.2  W", "73.2 W x", "12 mW", "73\u00a0W", "inf",
    "7\0",
]  # fmt: skip
BAD_TIME = [
    "2026/02/30 00:00:00.000", "garbage", "2026-03-01T00:00:10", "", "2026/03/01 00:00:09.5", "1772323200",
    "2026/03/01 25:00:00.000", "2026/03/01 00:00:60.000", "2026/10/25 02:30:00.000", "2026-03-01T00:00:10+02:00",
]  # fmt: skip
BAD_NAME = ["9", "GPU 3", "x", "", "é", "GPU-" + "f" * 70, " \t2"]


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """Only compiled kernels read bytes."""
    warm_up()
    before = load.form()
    assert load.use("so").name == "so"
    yield
    load.use(before.name)


def row(step, gpu):
    stamp = f"2026/10/25 0{step // 1200}:{step // 20 % 60:02d}:{step * 3 % 60:02d}.{step % 10}00"
    return [
        stamp, f"{gpu}", f"GPU-0000000{gpu}-5f5c-4b1e-9d3a-0123456789ab", f"{60 + 7 * step % 600}.{step % 97:02d} W",
        f"{step % 100} %", "700.00 W",
    ]  # fmt: skip


@st.composite
def tables(draw):
    """A log of nvidia-smi to which something happened, as text, and how it is read."""
    gpus, steps = draw(st.integers(1, 4)), draw(st.integers(1, 60))
    lines = [HEADER.split(", "), *(row(step, gpu) for step in range(steps) for gpu in range(gpus))]
    separator = draw(st.sampled_from([", ", ",", ";", "\t"]))
    texts = [separator.join(cells) for cells in lines]
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(1, len(lines) - 1))
        cells = list(lines[at])
        what = draw(st.integers(0, 9))
        if what == 0:
            cells[draw(st.sampled_from([3, 5]))] = draw(st.sampled_from(BAD_POWER))
        elif what == 1:
            cells = cells[: draw(st.integers(1, 5))]
        elif what == 2:
            cells.append("x")
        elif what == 3:
            cells = lines[0]
        elif what == 4:
            cells = [draw(st.sampled_from(["", "   ", "\t", "\0\0"]))]
        elif what == 5:
            cells[0] = draw(st.sampled_from(BAD_TIME))
        elif what == 6:
            cells[draw(st.sampled_from([1, 2]))] = draw(st.sampled_from(BAD_NAME))
        elif what == 7:
            cells[4] = draw(st.sampled_from(["[N/A]", "5", "7.5 %", "é %"]))
        elif what == 8:
            cells[-1] += "\r"
        else:
            cells[3] = cells[3] + "\r" if draw(st.booleans()) else "\ufeff"
        texts[at] = separator.join(cells)
    ending = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"]))
    if draw(st.integers(0, 5)) == 0:
        texts[1:] = draw(st.permutations(texts[1:]))
    return ending.join(texts) + draw(st.sampled_from(["", ending]))


def read(path, layout, *, typed, zone="UTC", unit="", block_bytes=1 << 20, threads=2):
    """All that is read of a table, in values that can be compared."""
    report, gpus = SourceReport("t"), Gpus("", 20_000_000, -1)
    dialect, clock = sniff(head_of(path)), TimestampParser(timestamps.zone(zone), unit)
    kinds = layout.kinds(unit) if typed else None
    parts, failed = [], ""
    try:
        with pytest.MonkeyPatch.context() as patch, use_threads(threads):
            patch.setattr(delimited, "BLOCK_BYTES", block_bytes)
            for below, pieces in delimited.stretches(path, dialect, report):
                if set(layout.names()) <= set(below.names):
                    blocks = delimited.blocks(pieces, layout.names(), report, kinds)
                    parts += TableReader(layout, below.names, clock, gpus, report).rows(blocks)
                else:
                    delimited.leave_out(pieces, report)
    except InputError as error:
        parts, failed = [], str(error)
    names = [(d.host, d.uuid, d.model, d.index, d.limit_mw) for d in gpus.devices]
    joined = Rows.join(parts) if parts else None
    columns = joined is not None and {
        "gpu": joined.gpu.tolist(),
        **{
            name: joined.filled(name).tolist()
            for name in ("time_us", "power_mw", "counter_mj", "energy_uj", "util_ppm")
        },
    }
    return columns, names, report.rows, report.rejected, report.bad, failed


@given(tables(), st.sampled_from(["UTC", "Europe/Berlin"]), st.sampled_from([700, 4_000, 1 << 20]), st.integers(1, 2))
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_say_what_text_says_whatever_is_in_the_file(tmp_path, text, zone, block_bytes, threads):
    path = tmp_path / "log.csv"
    path.write_text(text, newline="", encoding="utf-8")
    dialect = sniff(head_of(path))
    layout = smi_csv.layout_of_header(dialect.names)
    if layout is None:
        return
    as_text = read(path, layout, typed=False, zone=zone, block_bytes=block_bytes)
    assert read(path, layout, typed=True, zone=zone, block_bytes=block_bytes, threads=threads) == as_text


@pytest.mark.parametrize("typed", [True, False])
def test_a_gpu_of_two_indices_has_that_of_its_first_row(tmp_path, typed):
    path, layout = tmp_path / "log.csv", smi_csv.layout_of_header(HEADER.split(", "))
    rows = [row(0, 1), row(0, 2), row(0, 0), row(1, 0)]
    rows[3][1] = "2"
    path.write_text("\n".join([HEADER, *map(", ".join, rows)]) + "\n")
    assert [index for *_, index, _ in read(path, layout, typed=typed)[1]] == [1, 2, 0]


@given(
    st.lists(
        st.tuples(st.integers(0, 10**13), st.integers(0, 6), st.integers(0, 10**9), st.integers(0, 8)), min_size=1
    ),
    st.sampled_from(["W", "mW", "kW", "uW"]),
)
@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bare_numbers_are_read_to_the_last_digit(tmp_path, rows, unit):
    def number(value, places):
        digits = f"{value:0{places + 1}d}"
        return f"{digits[:-places]}.{digits[-places:]}" if places else digits

    def bare(text):
        """A stamp that is none is shown as a number, without zeros at its end."""
        return text.rstrip("0").rstrip(".") if "." in text else text

    path = tmp_path / "log.csv"
    lines = [f"{number(a, b)},{i % 3},{number(c, d)},{a}" for i, (a, b, c, d) in enumerate(rows)]
    path.write_text("time,gpu,power,energy\n" + "\n".join(lines) + "\n", encoding="ascii")
    layout = TableLayout("time", ("gpu",), (Quantity("power", unit),), energy=Quantity("energy", "Wh"))
    for wanted in ("", "s", "ms", "us", "iso"):
        as_text, as_bytes = (read(path, layout, typed=typed, unit=wanted, block_bytes=100) for typed in (False, True))
        assert [replace(bad, text=bare(bad.text)) for bad in as_bytes[4]] == [
            replace(bad, text=bare(bad.text)) for bad in as_text[4]
        ]
        assert (*as_bytes[:4], as_bytes[5]) == (*as_text[:4], as_text[5])


def clean(path, rows):
    """Write a log without a fault, and say how to read it."""
    lines = [HEADER, *(", ".join(row(step // 4 % 3000, step % 4)) for step in range(rows))]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    dialect = sniff(head_of(path))
    layout = smi_csv.layout_of_header(dialect.names)
    ((_, pieces),) = [(below, list(found)) for below, found in delimited.stretches(path, dialect, SourceReport("t"))]
    return lines, list(delimited.blocks(pieces, layout.names(), SourceReport("t"), layout.kinds()))


def test_a_clean_log_is_read_from_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 150_000)
    lines, blocks = clean(tmp_path / "log.csv", 4_000)
    assert len(blocks) > 2
    for block in blocks:
        kept = {name: type(column).__name__ for name, column in block.columns.items()}
        assert kept == {
            "timestamp": "Stamps", "uuid": "Names", "index": "Names",
            "power.draw [W]": "Scaled", "utilization.gpu [%]": "Scaled", "power.limit [W]": "Scaled",
        }  # fmt: skip
    power = np.concatenate([block.columns["power.draw [W]"].value for block in blocks])
    assert power.tolist() == [int(Fraction(line.split(", ")[3][:-2]) * 1000) for line in lines[1:]]
    assert np.concatenate([block.lines() for block in blocks]).tolist() == list(range(2, 4002))


@pytest.mark.parametrize("begin", ["2026-03-01T00:00:0{}", "2026/03/01 00:00:0{}Z", "177232320{}", "177232320{}000"])
@pytest.mark.parametrize("places", [0, 1, 3, 6, 9])
def test_the_first_rows_tell_the_same_about_gpus_and_stamps(tmp_path, begin, places):
    path = tmp_path / "log.csv"
    digits = f".{'120304056'[:places]}" if places else ""
    stamp = begin if not digits else begin.replace("Z", "") + digits + ("Z" if "Z" in begin else "")
    rows = [f"{stamp.format(step)},node,{gpu},H100,{step * 7 + gpu}.5" for step in range(9) for gpu in (3, 1)]
    path.write_text("time,host,gpu,model,power\n" + "\n".join(rows), encoding="ascii")
    layout = TableLayout("time", ("gpu",), (Quantity("power", "W"),), host="host", model="model")
    found = []
    for kinds in (layout.kinds(), None):
        ((_, pieces),) = [
            (below, list(some)) for below, some in delimited.stretches(path, sniff(head_of(path)), SourceReport("t"))
        ]
        first = next(delimited.blocks(pieces, layout.names(), SourceReport("t"), kinds))
        found.append(
            naming.head_rows({n: column[:10] for n, column in first.columns.items()}, layout, TimestampParser())
        )
    typed, text = found
    assert typed.cells == text.cells == {"gpu": ["3", "1"] * 5, "host": ["node"] * 10, "model": ["H100"] * 10}
    assert (typed.tick_us, typed.time_us.tolist(), typed.power_mw.tolist()) == (
        text.tick_us, text.time_us.tolist(), text.power_mw.tolist(),
    )  # fmt: skip


def test_a_file_that_is_cut_while_it_is_read_ends_there(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 100_000)
    path = tmp_path / "log.csv"
    clean(path, 40_000)
    dialect = sniff(head_of(path))
    layout = smi_csv.layout_of_header(dialect.names)
    seen = 0
    for _, pieces in delimited.stretches(path, dialect, SourceReport("t")):
        for block in delimited.blocks(pieces, layout.names(), SourceReport("t"), layout.kinds()):
            seen += len(block.lines())
            with path.open("r+b") as file:
                file.truncate(2_000_000)
    assert 0 < seen < 40_000


def test_a_clean_log_is_replayed_without_pyarrow(tmp_path):
    path = tmp_path / "log.csv"
    clean(path, 400)
    program = "import sys; from wattshed import main; code = main(); print(code, 'pyarrow' in sys.modules)"
    command = [sys.executable, "-c", program, "replay", str(path), "--format", "csv"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert told.splitlines()[-1] == "0 False"
