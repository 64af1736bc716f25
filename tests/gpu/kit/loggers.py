"""nvidia-smi beside the agent: CSV, dmon and pmon; in simulation, threads that write what these would."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import threading
import time

from .card import AVERAGE, INSTANT, Card
from .clock import now_ns

WANTED = "timestamp,index,power.draw,power.draw.average,power.draw.instant,utilization.gpu,memory.used"
COMMANDS = {
    "smi.csv": [f"--query-gpu={WANTED}", "--format=csv", "-lms", "100"],
    "dmon.txt": ["dmon", "-s", "pum", "-o", "DT", "-d", "1"],
    "pmon.txt": ["pmon", "-s", "um", "-o", "DT", "-d", "1"],
}
HEADS = {
    "smi.csv": "timestamp, index, power.draw [W], power.draw.average [W], power.draw.instant [W]\n",
    "dmon.txt": "#Date       Time        gpu    pwr     sm    mem\n#YYYYMMDD   HH:MM:SS    Idx      W      %      %\n",
    "pmon.txt": (
        "#Date       Time        gpu         pid   type     sm    mem    enc    dec    command\n"
        "#YYYYMMDD   HH:MM:SS    Idx           #    C/G      %      %      %      %    name\n"
    ),
}
HZ = {"smi.csv": 10, "dmon.txt": 1, "pmon.txt": 1}


class Loggers:
    """What logs the card beside the agent, into the step's folder, until :meth:`stop`."""

    def __init__(self, kit, card: Card) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._children: list[subprocess.Popen] = []
        command = None if kit.simulated else shutil.which("nvidia-smi")
        if kit.simulated:
            for name in COMMANDS:
                self._threads.append(threading.Thread(target=self._pretend, args=(kit.raw / name, name, card)))
                self._threads[-1].start()
        elif command is None:
            kit.error("nvidia-smi", FileNotFoundError("not on the PATH"))
        else:
            for name, arguments in COMMANDS.items():
                with (kit.raw / name).open("w") as file:
                    child = subprocess.Popen(
                        [command, *arguments], stdout=file, stderr=subprocess.STDOUT, env=dict(os.environ, TZ="UTC")
                    )
                self._children.append(child)

    def _pretend(self, path, name: str, card: Card) -> None:
        with path.open("w") as file:
            file.write(HEADS[name])
            at = now_ns()
            while not self._stop.is_set():
                file.write(line(name, card, dt.datetime.now(dt.UTC)))
                file.flush()
                at += int(1e9 / HZ[name])
                time.sleep(max(0.0, (at - now_ns()) / 1e9))

    def stop(self) -> None:
        """End them all."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for child in self._children:
            child.terminate()
            child.wait()


def line(name: str, card: Card, t: dt.datetime) -> str:
    """What the tool would say of the simulated card."""
    average, instant = ((card.one(field) or 0) / 1e3 for field in (AVERAGE, INSTANT))
    if name == "smi.csv":
        stamp = f"{t:%Y/%m/%d %H:%M:%S}.{t.microsecond // 1000:03d}"
        return f"{stamp}, 0, {average:.2f} W, {average:.2f} W, {instant:.2f} W\n"
    if name == "dmon.txt":
        return f" {t:%Y%m%d}   {t:%H:%M:%S}      0 {average:6.0f}      0      0\n"
    return f" {t:%Y%m%d}   {t:%H:%M:%S}      0     4242     C     50     10      -      -    python\n"
