"""One recording, written as every format that can carry it: what the laws of reading are checked with.

A recording is power in hundredths of a watt of each GPU at whole seconds. A way of writing says to which step it
rounds power, and how its lines can be taken apart.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.traces.smi_tables_made_up import Row, table

START = 1_700_000_000


@dataclass(frozen=True)
class Written:
    """A text and how it may be changed.

    ``head`` is repeated at the start of every part; ``rounds`` are texts, one a moment.
    """

    head: str
    rounds: list[str]
    tail: str = ""

    def __str__(self):
        return self.head + "".join(self.rounds) + self.tail


@dataclass(frozen=True)
class Way:
    """How a recording is written.

    Attributes
    ----------
    write : callable
        Recording -> Written.
    step_w : float
        To what power is rounded.
    flags : tuple
        What `replay` has to be told.
    traits : frozenset
        "ordered": by series, not by time; "whole": one document, of which no part is one.
    gpus : int
        How many there can be.
    """

    write: object
    step_w: float = 0.01
    flags: tuple = ()
    traits: frozenset = field(default_factory=frozenset)
    gpus: int = 9

    def carried(self, recording):
        """As many GPUs of a recording as it can carry."""
        return [(t, each[: self.gpus]) for t, each in recording]


def stamp(t, form="%Y/%m/%d %H:%M:%S.000"):
    return datetime.fromtimestamp(START + t, UTC).strftime(form)


def watts(w):
    return f"{w / 100:.2f}"


def by_row(head, row):
    """A line a GPU and moment."""
    return lambda recording: Written(head, ["".join(row(t, g, w) for g, w in enumerate(each)) for t, each in recording])


def by_moment(head, text):
    return lambda recording: Written(head(recording), [text(t, each) for t, each in recording])


def series(text, tail=""):
    """Text of each GPU's whole series, one after the other: it has no rounds."""
    return lambda recording: Written(
        "", [text(g, [(t, each[g]) for t, each in recording]) for g in range(len(recording[0][1]))], tail
    )


def smi(t, g, w):
    return f"{stamp(t)}, {g}, GPU-{g:08d}-aaaa-bbbb-cccc-000000000000, {watts(w)} W, 400.00 W, 50 %\n"


def labels(g, name="DCGM_FI_DEV_POWER_USAGE"):
    return f'{name}{{gpu="{g}",UUID="GPU-{g:08d}"}}'


def gpus_of(each):
    return [{"index": g, "power.draw": float(watts(w)), "utilization.gpu": 50} for g, w in enumerate(each)]


def stamped(prefix, head, row):
    """Lines behind a stamp each, the header too."""
    return lambda recording: Written(
        "".join(f"{prefix(recording[0][0])}{line}\n" for line in head.splitlines()),
        ["".join(f"{prefix(t)}{row(g, w)}\n" for g, w in enumerate(each)) for t, each in recording],
    )


def tables(layout):
    def drawn(t, each):
        rows = [Row(g, f"{round(w / 100)}W") for g, w in enumerate(each)]
        return f"{stamp(t, '%a %b %e %H:%M:%S %Y')}       \n{table(layout, rows)}"

    return by_moment(lambda _: "", drawn)


def telegraf(t, g, w):
    tags = f"host=n1,index={g},name=NVIDIA\\ A100"
    return f"nvidia_smi,{tags} power_draw={watts(w)},utilization_gpu=98i {START + t}000000000\n"


def tegrastats(t, _, w):
    return f"{stamp(t, '%m-%d-%Y %H:%M:%S')} RAM 2/6MB CPU [9%@1] VDD_IN {w * 10}mW/9mW\n"


WAYS = {
    "nvidia-smi tables of driver 352": Way(tables("352"), step_w=1),
    "nvidia-smi tables of driver 470": Way(tables("470"), step_w=1),
    "nvidia-smi tables of driver 565": Way(tables("565"), step_w=1),
    "dmon in a journal": Way(
        stamped(
            lambda t: stamp(t, "%Y-%m-%dT%H:%M:%S+0000 n1 nvidia-smi[17]: "),
            "# gpu    pwr  gtemp\n# Idx      W      C\n",
            lambda g, w: f"    {g}    {round(w / 100)}     41",
        ),
        step_w=1,
    ),
    "dcgmi behind date": Way(
        stamped(
            lambda t: f"{START + t}.000000 ", "#Entity   POWER\nID        W\n", lambda g, w: f"GPU {g}     {watts(w)}0"
        )
    ),
    "nvidia-smi stats": Way(by_row("", lambda t, g, w: f"{g}, pwrDraw , {START + t}000000, {watts(w)}\n")),
    "logfmt": Way(by_row("", lambda t, g, w: f"ts={START + t} level=info gpu={g} power_w={watts(w)}\n")),
    "logfmt behind a stamp": Way(
        by_row(
            "",
            lambda t, g, w: f"{stamp(t, '%Y-%m-%dT%H:%M:%S.000Z')}  INFO nvline: name=NVIDIA A10G device={g} "
            f"power={watts(w)}W\n",
        )
    ),
    "telegraf": Way(by_row("", telegraf)),
    "tegrastats": Way(by_row("", tegrastats), gpus=1),
    "PTDaemon": Way(
        by_row("", lambda t, _, w: f"Time,{stamp(t, '%m-%d-%Y %H:%M:%S.000')},Watts,{watts(w)},Volts,-1.000\n"), gpus=1
    ),
    "jtop": Way(
        by_row(
            "time,uptime,CPU1,GPU,Power VDD_IN,Power TOT,nvp model\n",
            lambda t, g, w: f"{stamp(t, '%Y-%m-%d %H:%M:%S.000001')},0:00:01,9,{w % 100},1,{w * 10},MAXN\n",
        ),
        gpus=1,
    ),
    "nvidia-smi": Way(
        by_row("timestamp, index, uuid, power.draw [W], power.limit [W], utilization.gpu [%]\n", smi)
    ),
    "nvidia-smi without units": Way(
        by_row("timestamp, index, power.draw\n", lambda t, g, w: f"{stamp(t)}, {g}, {watts(w)}\n")
    ),
    "nvidia-smi without header": Way(by_row("", smi)),
    "dmon": Way(
        by_row(
            "#Date       Time        gpu    pwr  gtemp     sm\n#YYYYMMDD   HH:MM:SS    Idx      W      C      %\n",
            lambda t, g, w: f" {stamp(t, '%Y%m%d   %H:%M:%S')}      {g}    {round(w / 100)}     40     50\n",
        ),
        step_w=1,
    ),
    "csv": Way(by_row("time,gpu,power_w\n", lambda t, g, w: f"{START + t},{g},{watts(w)}\n")),
    "csv in milliwatts": Way(by_row("time,gpu,power_mw\n", lambda t, g, w: f"{START + t},{g},{w * 10}\n")),
    "csv with semicolons": Way(
        by_row(
            "time;gpu;power_w\n",
            lambda t, g, w: f"{stamp(t, '%Y-%m-%dT%H:%M:%SZ')};{g};{watts(w).replace('.', ',')}\n",
        )
    ),
    "wide csv": Way(
        by_moment(
            lambda r: "time," + ",".join(f"GPU{g}" for g in range(len(r[0][1]))) + "\n",
            lambda t, each: f"{START + t}," + ",".join(map(watts, each)) + "\n",
        ),
        flags=("--columns", "time=time,power=GPU*"),
    ),
    "openmetrics": Way(
        series(lambda g, s: "".join(f"{labels(g)} {watts(w)} {START + t}\n" for t, w in s), tail="# EOF\n"),
        traits=frozenset({"ordered"}),
    ),
    "tsdb dump": Way(
        series(lambda g, s: "".join(
            f'{{__name__="DCGM_FI_DEV_POWER_USAGE", gpu="{g}"}} {watts(w)} {START + t}000\n' for t, w in s)),
        traits=frozenset({"ordered"}),
    ),
    "promtool query": Way(
        series(lambda g, s: f"{labels(g)} =>\n" + "".join(f"{watts(w)} @[{START + t}]\n" for t, w in s)),
        traits=frozenset({"ordered", "whole"}),
    ),
    "query_range": Way(
        lambda r: Written("", [json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [
            {"metric": {"__name__": "DCGM_FI_DEV_POWER_USAGE", "gpu": str(g)},
             "values": [[START + t, watts(each[g])] for t, each in r]} for g in range(len(r[0][1]))]}})]),
        traits=frozenset({"ordered", "whole"}),
    ),
    "VictoriaMetrics": Way(
        series(lambda g, s: json.dumps({
            "metric": {"__name__": "DCGM_FI_DEV_POWER_USAGE", "gpu": str(g)},
            "values": [w / 100 for _, w in s], "timestamps": [(START + t) * 1000 for t, _ in s]}) + "\n"),
        traits=frozenset({"ordered", "whole"}),
    ),
    "JSON lines": Way(
        by_row("", lambda t, g, w: json.dumps({"time": START + t, "gpu": g, "power_w": w / 100}) + "\n")
    ),
    "gpustat": Way(
        by_moment(lambda _: "", lambda t, each: json.dumps(
            {"query_time": stamp(t, "%Y-%m-%dT%H:%M:%S"), "gpus": gpus_of(each)}) + "\n")
    ),
    "W&B": Way(
        by_moment(lambda _: "", lambda t, each: json.dumps(
            {"_timestamp": START + t} | {f"system.gpu.{g}.powerWatts": w / 100 for g, w in enumerate(each)}) + "\n")
    ),
    "JSON by columns": Way(
        lambda r: Written("", [json.dumps({"time": [START + t for t, _ in r]} | {
            f"gpu{g}_power": [each[g] / 100 for _, each in r] for g in range(len(r[0][1]))})]),
        traits=frozenset({"whole"}),
    ),
    "dicts of Python": Way(by_row("", lambda t, g, w: f"{ {'time': START + t, 'gpu': g, 'power': w / 100} }\n")),
    "long form": Way(
        by_row(
            "timestamp,metric_name,gpu_id,value\n",
            lambda t, g, w: f"{START + t},DCGM_FI_DEV_POWER_USAGE,{g},{watts(w)}\n",
        )
    ),
    "MLflow": Way(
        by_row("key,value,timestamp,step\n",
               lambda t, g, w: f"system/gpu_{g}_power_usage_watts,{watts(w)},{START + t}000,1\n")
    ),
    "a session": Way(
        by_row(
            "nvidia_gpu_exporter GPU capture\n$ nvidia-smi --query-gpu=timestamp,index,power.draw\n"
            "timestamp, index, power.draw [W]\n",
            lambda t, g, w: f"{stamp(t)}, {g}, {watts(w)} W\n",
        )
    ),
    "without a column for the GPU": Way(by_row("time,power_w\n", lambda t, _, w: f"{START + t},{watts(w)}\n"), gpus=1),
    "dates and times of German Excel": Way(
        by_row(
            "Datum;Uhrzeit;GPU;Leistung (W)\n",
            lambda t, g, w: f"{stamp(t, '%d.%m.%Y;%H:%M:%S')};{g};{watts(w).replace('.', ',')}\n",
        )
    ),
}  # fmt: skip
