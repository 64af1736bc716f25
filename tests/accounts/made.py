"""Windows for tests, from plain tuples."""

import numpy as np

from wattshed.agent.window import Device, JobKey, Owner, Readings, Usage, Window

S = 1_000_000


def device(i=0, host="h", **facts):
    return Device(host, i, f"GPU-{i}", **{"idle_mw": 70_000, "limit_mw": 700_000, **facts})


def window(start_us, end_us, rows, usage=(), devices=None, busy=None, host="h", seq=0, events=()):
    """``rows``: per GPU (time_us, power_mw, counter_mj); ``usage``: (gpu, key, start, end, activity, share, live)."""
    devices = devices or tuple(device(i, host) for i in range(len(rows)))
    flat = [row for gpu in rows for row in gpu]
    columns = list(zip(*flat, strict=True)) or [(), (), ()]
    readings = Readings(
        np.cumsum([0] + [len(gpu) for gpu in rows]),
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int32),
        np.array(columns[2], np.int64),
    )
    keys = list(dict.fromkeys(row[1] for row in usage))
    columns = list(zip(*usage, strict=True)) or [()] * 7
    types = (np.int32, np.int32, np.int64, np.int64, np.int64, np.int32, np.int8)
    values = [columns[0], [keys.index(k) for k in columns[1]], *columns[2:]]
    return Window(
        host, seq, start_us, end_us, devices, readings,
        np.array(busy if busy is not None else [-1] * len(rows), np.int64),
        tuple(Owner(JobKey(key)) for key in keys),
        Usage(*(np.array(v, t) for v, t in zip(values, types, strict=True))),
        events,
    )  # fmt: skip
