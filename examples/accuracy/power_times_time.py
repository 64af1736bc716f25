"""A tool of one's own for `wattshed bench accuracy`: mean power, read twice a second, times duration.

    wattshed bench accuracy --tool examples/accuracy/power_times_time.py

A tool is a class that is made five seconds before a job, with the numbers of the job's GPUs, told when the job begins
and ends, and asked for joules. It may be written for real time, with threads and sleeps: the benchmark lets its `time`
and `threading` mean a clock that jumps.
"""

import threading
import time

import pynvml


class PowerTimesTime:
    """One measurement of one job."""

    name = "power x time"  # as it stands in the table; left out: the class's name
    package = "nvidia-ml-py"  # the installed package whose version is told; may be left out

    def __init__(self, gpus):
        pynvml.nvmlInit()
        self._handles = [pynvml.nvmlDeviceGetHandleByIndex(gpu) for gpu in gpus]
        self._watts, self._over = [], threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self):
        while not self._over.is_set():
            self._watts.append(sum(pynvml.nvmlDeviceGetPowerUsage(handle) for handle in self._handles) / 1000)
            self._over.wait(0.5)

    def begin(self):
        """Begin: the job does."""
        self._begun = time.time()
        self._thread.start()

    def end(self):
        """End: the job does."""
        self._took = time.time() - self._begun
        self._over.set()

    def joules(self):
        """Return what the job used, in J."""
        return sum(self._watts) / len(self._watts) * self._took

    def sigma(self):
        """Return one standard deviation, in J; a tool that states none has no such method."""
        return 0.05 * self.joules()
