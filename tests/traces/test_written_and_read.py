"""Made-up nodes, written as each tool would write them: every reading and every fact of a GPU is read back."""

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

START = 1_709_632_800  # 2024-03-05, ten o'clock
SECOND = 1_000_000


@dataclass
class Gpu:
    """A GPU and, second by second, its power (W, in hundredths), counter (mJ), instant power (W) and use (%)."""

    index: int
    model: str
    limit_w: int
    power: list
    energy: list
    instant: list
    util: list

    @property
    def uuid(self):
        return f"GPU-{self.index + 1:08x}-0000-0000-0000-000000000000"

    @property
    def pci(self):
        return f"00000000:{self.index + 7:02X}:00.0"


@st.composite
def nodes(draw):
    times = draw(st.lists(st.integers(1, 9), min_size=2, max_size=6))
    times = [START + sum(times[:i]) for i in range(len(times))]
    hundredths = st.integers(1, 99_999).map(lambda n: n / 100)
    gpus = []
    for index in range(draw(st.integers(1, 3))):
        n = len(times)
        column = {name: draw(st.lists(hundredths, min_size=n, max_size=n)) for name in ("power", "instant")}
        energy = sorted(draw(st.lists(st.integers(1, 10**9), min_size=n, max_size=n)))
        util = draw(st.lists(st.integers(0, 100), min_size=n, max_size=n))
        model, limit = draw(st.sampled_from(["NVIDIA H100 PCIe", "Tesla T4"])), draw(st.integers(100, 999))
        gpus.append(Gpu(index, model, limit, column["power"], energy, column["instant"], util))
    return times, gpus


def rounds(node, line):
    times, gpus = node
    return [line(t, i, gpu) for i, t in enumerate(times) for gpu in gpus]


def stamp(t):
    return f"{datetime.fromtimestamp(t, UTC):%Y/%m/%d %H:%M:%S}.000"


def ctime(t):
    return f"{datetime.fromtimestamp(t, UTC):%a %b %e %H:%M:%S %Y}"


def smi_csv(node):
    """nvidia-smi --query-gpu=..., with a header and units."""
    head = "timestamp, uuid, name, power.draw [W], power.draw.instant [W], utilization.gpu [%], power.limit [W]"
    rows = rounds(
        node,
        lambda t, i, g: (
            f"{stamp(t)}, {g.uuid}, {g.model}, {g.power[i]:.2f} W, {g.instant[i]:.2f} W, "
            f"{g.util[i]} %, {g.limit_w}.00 W"
        ),
    )
    return "\n".join([head, *rows])


def smi_headless(node):
    """The same without a header: what is the power, the limit and the model is told by what stands there."""
    return "\n".join(
        rounds(node, lambda t, i, g: f"{stamp(t)}, {g.uuid}, {g.model}, {g.power[i]:.2f} W, {g.limit_w}.00 W")
    )


def smi_dmon(node):
    head = "#Date       Time        gpu    pwr     sm\n#YYYYMMDD   HH:MM:SS    Idx      W      %"
    rows = rounds(
        node,
        lambda t, i, g: f" {datetime.fromtimestamp(t, UTC):%Y%m%d   %H:%M:%S}  {g.index}  {g.power[i]}  {g.util[i]}",
    )
    return "\n".join([head, *rows])


def dcgmi(node):
    """Without times: a round is a second."""
    head = "#Entity   GPUTL  POWER  TOTEC\nID               W      mJ"
    return "\n".join([head, *rounds(node, lambda _, i, g: f"GPU {g.index} {g.util[i]} {g.power[i]} {g.energy[i]}")])


def smi_q(node):
    def one(t, i, g):
        return f"""GPU {g.pci}
    Product Name                          : {g.model}
    Product Architecture                  : Hopper
    GPU UUID                              : {g.uuid}
    Utilization
        Gpu                               : {g.util[i]} %
    GPU Power Readings
        Average Power Draw                : {g.power[i]:.2f} W
        Instantaneous Power Draw          : {g.instant[i]:.2f} W
        Current Power Limit               : {g.limit_w}.00 W
    Module Power Readings
        Average Power Draw                : 5000.00 W
"""

    times, gpus = node
    said = []
    for i, t in enumerate(times):
        head = f"\n==============NVSMI LOG==============\n\nTimestamp : {ctime(t)}\nDriver Version : 550.54\n"
        said.append(head + f"Attached GPUs : {len(gpus)}\n" + "".join(one(t, i, g) for g in gpus))
    return "".join(said)


def smi_xml(node):
    def one(i, g):
        return f"""<gpu id="{g.pci}">
<product_name>{g.model}</product_name><uuid>{g.uuid}</uuid><product_architecture>Hopper</product_architecture>
<utilization><gpu_util>{g.util[i]} %</gpu_util></utilization>
<gpu_power_readings><average_power_draw>{g.power[i]:.2f} W</average_power_draw>
<instant_power_draw>{g.instant[i]:.2f} W</instant_power_draw>
<current_power_limit>{g.limit_w}.00 W</current_power_limit></gpu_power_readings>
</gpu>
"""

    times, gpus = node
    return "".join(
        f"<nvidia_smi_log>\n<timestamp>{ctime(t)}</timestamp>\n<driver_version>550.54</driver_version>\n"
        + "".join(one(i, g) for g in gpus)
        + "</nvidia_smi_log>\n"
        for i, t in enumerate(times)
    )


def series(g):
    labels = {"gpu": str(g.index), "UUID": g.uuid, "modelName": g.model}
    return {
        "DCGM_FI_DEV_POWER_USAGE": g.power,
        "DCGM_FI_DEV_POWER_USAGE_INSTANT": g.instant,
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": g.energy,
        "DCGM_FI_DEV_POWER_MGMT_LIMIT": [g.limit_w] * len(g.power),
    }, labels


def openmetrics(node):
    times, gpus = node
    lines = []
    for i, t in enumerate(times):
        for g in gpus:
            found, labels = series(g)
            text = ",".join(f'{k}="{v}"' for k, v in labels.items())
            lines += [f"{name}{{{text}}} {values[i]} {t}" for name, values in found.items()]
    return "\n".join([*lines, "# EOF", ""])


def prometheus(node):
    times, gpus = node
    result = []
    for g in gpus:
        found, labels = series(g)
        for name, values in found.items():
            points = [[t, str(v)] for t, v in zip(times, values, strict=True)]
            result.append({"metric": {"__name__": name, **labels}, "values": points})
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def table(node):
    head = "time,gpu,model,power_w,energy_mj,util,power_limit_w"
    return "\n".join(
        [
            head,
            *rounds(
                node, lambda t, i, g: f"{t},{g.index},{g.model},{g.power[i]},{g.energy[i]},{g.util[i]}%,{g.limit_w}"
            ),
        ]
    )


def wide(node):
    times, gpus = node
    head = ["time", *(f"power_{g.index}" for g in gpus), *(f"energy_{g.index}" for g in gpus)]
    rows = [[t, *(g.power[i] for g in gpus), *(g.energy[i] for g in gpus)] for i, t in enumerate(times)]
    return "\n".join(",".join(map(str, row)) for row in [head, *rows])


def parquet(node):
    columns = list(
        zip(*rounds(node, lambda t, i, g: (t * SECOND, g.index, round(g.power[i] * 1000), g.energy[i])), strict=True)
    )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(zip(["time_us", "gpu", "power_mw", "energy_mj"], columns, strict=True))), sink)
    return sink.getvalue().to_pybytes()


WIDE = {"time": ("time", "s"), "power": ("power_*", "W"), "energy": ("energy_*", "mJ/total")}
SAID = {"power": ("power_w", "W"), "energy": ("energy_mj", "mJ/total")}  # made up, they contradict each other
FORMATS = {
    "nvidia-smi": (smi_csv, "power instant util uuid model limit", None),
    "nvidia-smi without a header": (smi_headless, "power uuid model", None),
    "dmon": (smi_dmon, "power util index", None),
    "dcgmi": (dcgmi, "power energy util index rounds", None),
    "-q": (smi_q, "power instant util uuid model limit pci driver", None),
    "-q -x": (smi_xml, "power instant util uuid model limit pci driver", None),
    "openmetrics": (openmetrics, "power instant energy uuid model limit index", None),
    "prometheus": (prometheus, "power instant energy uuid model limit index", None),
    "a table": (table, "power energy util index model limit", SAID),
    "a wide table": (wide, "power energy index", WIDE),
    "parquet": (parquet, "power energy index", SAID | {"power": ("power_mw", "mW")}),
}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(node=nodes())
def test_what_a_tool_wrote_is_read(name, tmp_path, node):
    write, told, columns = FORMATS[name]
    told = set(told.split())
    times, gpus = node
    text = write(node)
    path = tmp_path / "trace"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    options = Options(columns, utilisation=True)
    (chain,) = find([str(path)], options)
    (window,) = chain.windows(options)
    assert sum(chain.reports[0].rejected.values()) == 0
    assert len(window.devices) == len(gpus)
    if "rounds" in told:
        times = list(range(len(times)))
    assert (window.start_us, window.seq) == (times[0] * SECOND, 0)
    assert window.end_us == max(times[-1] * SECOND, times[0] * SECOND + 1)
    readings = window.readings
    for place, device in enumerate(window.devices):
        g = next(g for g in gpus if g.uuid == device.uuid or (not device.uuid and g.index == device.index))
        if told & {"uuid"}:
            assert device.uuid == g.uuid
        assert device.model == (g.model if "model" in told else device.model)
        if "pci" in told:
            assert device.pci_bus_id == g.pci[4:].lower()
        if "driver" in told:
            assert (device.driver, device.architecture) == ("550.54", "hopper")
        if "limit" in told:
            assert (device.limit_mw, device.ceiling_mw) == (g.limit_w * 1000, 3 * g.limit_w * 1000)
        mine = slice(int(readings.offsets[place]), int(readings.offsets[place + 1]))
        at = [t * SECOND for t in times]
        rows = zip(
            *(c.tolist() for c in (readings.time_us[mine], readings.power_mw[mine], readings.counter_mj[mine])),
            strict=True,
        )
        got = {"power": {}, "energy": {}, "instant": {}}
        for t, power, counter in rows:
            if power >= 0:
                got["power"][t] = power
            if counter >= 0:
                got["energy"][t] = counter
        if readings.instant_mw.size:
            got["instant"] = {
                t: p
                for t, p in zip(readings.time_us[mine].tolist(), readings.instant_mw[mine].tolist(), strict=True)
                if p >= 0
            }
        milli = [round(w * 1000) for w in g.power]
        assert got["power"] == dict(zip(at, milli, strict=True))
        assert got["energy"] == (dict(zip(at, g.energy, strict=True)) if "energy" in told else {})
        instant = [round(w * 1000) for w in g.instant]
        assert got["instant"] == (dict(zip(at, instant, strict=True)) if "instant" in told else {})
        # A reading of utilisation stands for the time since the one before.
        since = [0, *(b - a for a, b in itertools.pairwise(at))]
        busy = sum(s * u for s, u in zip(since, g.util, strict=True)) // 100
        assert window.busy_us[place] == (busy if "util" in told else -1)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "a", "b"]),
            st.integers(-1, 2),
            st.sampled_from(["", "GPU-1", "GPU-2"]),
            st.sampled_from(["", "00000000:07:00.0", "0000:07:00.0", "0000:08:00.0"]),
        ),
        max_size=12,
    )
)
def test_a_gpu_is_one_by_uuid_else_address_else_index_on_its_host(names):
    gpus = Gpus("own", 5_000_000, -1)
    seen = {}
    for host, index, uuid, pci in names:
        number = gpus.number(host, index=index, uuid=uuid, pci=pci)
        name = uuid or pci[-12:] or (index if index >= 0 else "")
        assert number == seen.setdefault((host or "own", name), len(seen))
        assert gpus.devices[number].host == (host or "own")
    assert len(gpus) == len(seen)


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([-1, 0, 300_000, 700_000, 2**31 - 1]), st.booleans()), min_size=1, max_size=5)
)
def test_of_several_limits_the_largest_counts(facts):
    gpus = Gpus("", 5_000_000, -1)
    number = gpus.number(index=0)
    for limit, simulated in facts:
        gpus.describe(number, limit_mw=limit, simulated=simulated)
    most = max(limit for limit, _ in facts)
    device = gpus.devices[number]
    assert device.simulated == any(simulated for _, simulated in facts)
    assert device.limit_mw == (most if most > 0 else -1)
    assert device.ceiling_mw == (min(3 * most, 2**31 - 2) if most > 0 else 5_000_000)


SEEN = st.dictionaries(
    st.tuples(st.integers(0, 1), st.sampled_from([0, 7, 1234])), st.sampled_from(["-", "0", "30", "100"]), max_size=4
)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 9), SEEN), min_size=1, max_size=6))
def test_a_process_is_there_from_the_round_before_it_is_first_seen(tmp_path, rounds):
    """To the last round that shows it, or to the end if that is its GPU's last; busy as each round says since the one
    before."""
    times = list(itertools.accumulate(since for since, _ in rounds))
    lines = [
        f"20240305 10:00:{t:02d} {gpu} {pid} C {sm} - train"
        for t, (_, seen) in zip(times, rounds, strict=True)
        for (gpu, pid), sm in seen.items()
    ]
    if not lines:
        return
    path = tmp_path / "trace"
    path.write_text("\n".join(["# Date Time gpu pid type sm mem command", *lines]) + "\n")
    (chain,) = find([str(path)], Options())
    (window,) = chain.windows(Options())
    begin = next(t for t, (_, seen) in zip(times, rounds, strict=True) if seen)
    wanted = set()
    for gpu, pid in {place for _, seen in rounds for place in seen}:
        mine = [(t, seen) for t, (_, seen) in zip(times, rounds, strict=True) if any(g == gpu for g, _ in seen)]
        before, first, last, busy = begin, None, 0, []
        for t, seen in mine:
            if (gpu, pid) in seen:
                first, last = before if first is None else first, t
                busy += [(t - before) * int(seen[gpu, pid]) * 10_000] if seen[gpu, pid] != "-" else []
            before = t
        start, end = (START + first) * SECOND, (START + last) * SECOND
        end = window.end_us if last == mine[-1][0] else end
        wanted.add((gpu, f"pid:{pid}", start, end, min(sum(busy), end - start) if busy else -1))
    usage = window.usage
    columns = (usage.gpu, usage.owner, usage.start_us, usage.end_us, usage.activity_us)
    found = [
        (window.devices[gpu].index, window.owners[owner].key, *rest)
        for gpu, owner, *rest in zip(*(column.tolist() for column in columns), strict=True)
    ]
    assert len(found) == len(wanted)
    assert set(found) == wanted
    assert {owner.labels["manager"] for owner in window.owners} == {"none"}
