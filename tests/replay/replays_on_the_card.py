"""Recordings replayed on a CUDA device and on the CPU, in numba-cuda's simulator: a program of its own.

``python -m tests.replay.replays_on_the_card FOLDER`` prints one JSON document: what each replay answered.
"""

import contextlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.traces.windows_made_up import plain_window
from wattshed.agent.commands import replay
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.kernels import power_on_card
from wattshed.kernels.cuda_target import cuda


def native(folder):
    """A recording of power alone, at first; then with a counter for a while."""
    recorder = Recorder(folder, "node")
    for i in range(30):
        window = plain_window(i)
        power = window.readings.power_mw + np.arange(8, dtype=np.int32) * (i % 3)
        power[3] = 0 if i == 11 else power[3]
        counter = window.readings.counter_mj if i > 25 else np.full(8, -1)
        recorder.append(replace(window, readings=replace(window.readings, power_mw=power, counter_mj=counter)))
    recorder.close()
    return folder


def text(path):
    """A table of two GPUs with a hole, rows that go back, and cells that are no numbers."""
    rows = ["ts,gpu,watt"]
    for t in range(200):
        at = 1_700_000_000 + t + 60 * (t > 90) - 3 * (t == 120)
        rows += [f"{at},{gpu},{'[N/A]' if t == 50 else 0 if t == 70 else 100.5 * (gpu + 1) + t % 7}" for gpu in (0, 1)]
    path.write_text("\n".join(rows) + "\n")
    return path


def answer(*argv):
    """The exit code, the document, and what else was said."""
    import argparse

    parser = argparse.ArgumentParser()
    replay.add_parser(parser.add_subparsers())
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        args = parser.parse_args(["replay", *map(str, argv)])
        code = args.run(args)
    return code, out.getvalue()


def main(folder):
    """Replay everything everywhere."""
    columns = ("--columns", "time=ts:s,gpu=gpu,power=watt:W", "--idle-watts", "80")
    jobs = folder / "jobs.csv"
    jobs.write_text("job,host,gpu,start,end\na,,0,1700000010,1700000030\n")
    sources = {"native": (native(folder / "recording"),), "text": (text(folder / "log.csv"), *columns)}
    sources["jobs"] = (*sources["text"], "--jobs", jobs)
    at, table = 1_700_000_000, folder / "more_jobs.csv"
    rows = [f"j{k},,{k % 8},{at + 0.7 * k:.3f},{at + 0.7 * k + 6.3:.3f}" for k in range(40)]
    table.write_text("\n".join(["job,host,gpu,start,end", *rows]) + "\n")
    sources["held"] = (*sources["native"], "--jobs", table)
    found = {}
    for name, source in sources.items():
        for device in ("cpu", "cuda"):
            code, out = answer(*source, "--format", "json", "--device", device)
            found[f"{name} {device}"] = [code, json.loads(out)]
    found["table"] = answer(*sources["text"], "--device", "cuda")
    found["auto"] = json.loads(answer(*sources["native"], "--format", "json")[1])

    def full(*_arguments):
        raise MemoryError

    power_on_card.cuda = type("Full", (), {"to_device": full, "device_array": full, "pinned_array": cuda.pinned_array})
    found["full"] = json.loads(answer(*sources["text"], "--format", "json", "--device", "cuda")[1])
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
