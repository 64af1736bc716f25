"""What a monitor wrote, read from its bytes, says what it says line by line: rows, what is rejected and where, GPUs."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.inputs import timestamps
from wattshed.agent.inputs.line_blocks import whole_lines
from wattshed.agent.inputs.line_stamps import prefix_of_file
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.inputs.text import CleanStream
from wattshed.agent.inputs.timestamps import TimestampParser
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.monitor_lines import MonitorReader
from wattshed.agent.traces.foreign.monitors import MonitorLog
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.kernels import load
from wattshed.kernels.warm import warm_up

START = datetime(2024, 12, 31, 23, 59, 40, tzinfo=UTC)
PREFIXES = [
    lambda t: "",
    lambda t: "",
    lambda t: f"{t:%b %d %H:%M:%S} ",
    lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%f} ",
    lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%f}789Z ",
    lambda t: f"{t.timestamp():.9f} ",
    lambda t: f"{t.timestamp():.1f} ",
    lambda t: f"{round(t.timestamp() * 1000)} ",
    lambda t: f"{round(t.timestamp() * 1e6)}123 ",
    lambda t: f"{t:%H:%M:%S} ",
    lambda t: f"[{t:%Y-%m-%d %H:%M:%S}] ",
    lambda t: f"{t:%b %d %H:%M:%S} n{t.minute} nvidia-smi[123]: ",
    lambda t: f"{t:%a %d %b %Y %I:%M:%S %p} UTC ",
    lambda t: f"{t:%a %b %e %H:%M:%S} UTC {t:%Y} ",
]
WRITERS = {
    "dmon": ("# gpu    pwr  gtemp     sm", "# Idx      W      C      %", "    {g}    {w}     41     {u}"),
    "dmon as CSV": ("#gpu, pwr, gtemp, sm", "#Idx, W, C, %", "{g}, {w}, 41, {u}"),
    "dmon -o DT": (
        "#Date       Time        gpu    pwr     sm", "#YYYYMMDD   HH:MM:SS    Idx      W      %",
        " {t:%Y%m%d}   {t:%H:%M:%S}      {g}    {w}     {u}",
    ),
    "dmon -o T": ("#Time        gpu    pwr", "#HH:MM:SS    Idx      W", " {t:%H:%M:%S}      {g}    {w}"),
    "pmon": (
        "# gpu         pid  type    sm   command", "# Idx           #   C/G     %   name",
        "    {g}       {p}     C    {u}   python a.py",
    ),
    "dcgmi": ("#Entity   POWER   TOTEC   GPUTL", "ID        W     mJ", "GPU {g}     {w}     {e}      {u}"),
}  # fmt: skip
CELLS = ["-", "N/A", "[N/A]", "-5", "1e3", "0070", "7.", ".5", "12.3456", "1,5", "nan", "9" * 20, "x", "1.0005", "é"]
LINES = [
    "", "   ", "\t", "# a comment", "# gpu sm", "# gpu  sm  pwr  gtemp", "#Entity POWER", "ID  W", "nonsense", "0",
    "GPU 0", "GPU-I 1/0  5 5 5 5", "\x0c", "0\r5 41 7", "0 70 41 7 \r", "a, b, c, d", "0, 70, 41, 7,", "0\u00a070 41 7",
    "0 70: 41 7", "PM 0 70 41 7", "- 0 70 41 7", "1024 70 41 7", "00 70 41 7", "2024 0 70 41 7",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    warm_up()
    before = load.form()
    assert load.use("so").name == "so"
    yield
    load.use(before.name)


@st.composite
def logs(draw):
    """A log of a monitor to which something happened."""
    head, units, row = WRITERS[draw(st.sampled_from(sorted(WRITERS)))]
    before, gpus = draw(st.sampled_from(PREFIXES)), draw(st.integers(1, 4))
    step = timedelta(seconds=draw(st.sampled_from([0.3, 1, 7, 700])))
    lines = []
    for n in range(draw(st.integers(1, 60))):
        t = START + n * step
        texts = [head, units] if n % 9 == 0 else []
        for g in range(gpus):
            pid = draw(st.sampled_from(["-", "77", "1234567"])) if n % 20 == 0 else str(1000 + g)
            texts.append(row.format(t=t, g=g, w=60 + n * 7 % 300, u=n % 100, p=pid, e=10**9 + 70_125 * n))
        for text in texts:
            dirty = text
            match draw(st.integers(0, 60)):
                case 0:
                    words = text.split(" ")
                    words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(CELLS))
                    dirty = " ".join(words)
                case 1:
                    dirty = draw(st.sampled_from(LINES))
                case 2:
                    dirty = text[: draw(st.integers(0, len(text)))]
                case 3:
                    dirty = text + draw(st.sampled_from([" ", "\r", " 5", " x y", ",", ":"]))
                case 4:
                    lines.append(draw(st.sampled_from(LINES)))
            lines.append(before(t) + dirty)
    ending = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return ending.join(lines) + draw(st.sampled_from(["", ending]))


def read(path, *, by_bytes, zone="UTC", block_bytes=1 << 20, period_us=0):
    """All that is read of a log, in values that can be compared; and how many lines were read one by one."""
    report, gpus, prefix = SourceReport("t"), Gpus("", 20_000_000, -1), prefix_of_file(path)
    clock = TimestampParser(timestamps.zone(zone), period_us=period_us)
    reader = MonitorReader(clock, gpus, report, is_stamped=prefix is not None)
    by_line, parts, failed = [], [], ""
    monitor = MonitorLog(reader, prefix, report, by_bytes=by_bytes)
    plain = reader.line
    reader.line = lambda line: (by_line.append(line.number), plain(line))
    try:
        with CleanStream(path) as stream:
            for block in whole_lines(stream, 0, quoted=False, block_bytes=block_bytes):
                parts += monitor.block(block)
        parts += reader.end()
    except InputError as error:
        failed = str(error)
    rows = Rows.join(parts) if parts else None
    columns = rows and {
        name: rows.filled(name).tolist() for name in ("gpu", "time_us", "power_mw", "counter_mj", "util_ppm", "pid")
    }
    names = [(d.host, d.index) for d in gpus.devices]
    return (columns, names, report.rows, report.rejected, report.bad, report.notes, report.first, failed), by_line


@given(logs(), st.sampled_from(["UTC", "Europe/Berlin"]), st.sampled_from([100, 700, 1 << 20]))
@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_say_what_lines_say_whatever_is_in_the_log(tmp_path, text, zone, block_bytes):
    path = tmp_path / "log"
    path.write_text(text, newline="", encoding="utf-8")
    if not text.strip():
        return
    by_line, _ = read(path, by_bytes=False, zone=zone)
    assert read(path, by_bytes=True, zone=zone, block_bytes=block_bytes)[0] == by_line


@pytest.mark.parametrize("writer", sorted(WRITERS))
def test_nearly_all_lines_of_a_clean_log_are_read_from_their_bytes(tmp_path, writer):
    head, units, row = WRITERS[writer]
    lines = []
    for n in range(400):
        t = START + timedelta(seconds=n)
        lines += [head, units] if n % 9 == 0 else []
        lines += [row.format(t=t, g=g, w=60 + n, u=n % 100, p=1000 + g, e=10**9 + 70_125 * n) for g in range(4)]
    for before in PREFIXES:
        path = tmp_path / "log"
        path.write_text("".join(f"{before(START + timedelta(seconds=n // 5))}{line}\n" for n, line in enumerate(lines)))
        found, by_line = read(path, by_bytes=True)
        assert len(found[0]["gpu"]) == 1600
        assert len(by_line) < 100
