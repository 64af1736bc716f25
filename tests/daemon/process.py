"""``wattshed run`` as a process of its own, with everything it may write below one folder."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


class Agent:
    """One life of the agent.

    Parameters
    ----------
    folder : Path
        Home of its state, cache and configuration; a later life goes on from it.
    wrap : list of str
        A command to run it under.
    prepare : str
        Python that runs in the process before the agent does.
    """

    def __init__(self, folder, *flags, wrap=(), prepare="", config="", environ=None):
        self.folder, self.port = folder, free_port()
        (folder / "config.toml").write_text("[sampling]\nwindow_s = 0.25\n" + config)
        code = f"import sys\n{prepare}\nfrom wattshed.agent.__main__ import main\nsys.exit(main())"
        command = [
            *wrap,
            sys.executable,
            "-c",
            code,
            "run",
            "--meter",
            "simulated",
            "--config",
            str(folder / "config.toml"),
        ]
        self._log = folder / f"log-{self.port}"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--listen", f"127.0.0.1:{self.port}", *flags],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder),
                    "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                    # The suite's own: kernels are compiled once for all processes, and nobody else can write there.
                    "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(Path.home() / ".cache/wattshed")),
                    "TMPDIR": str(folder),
                    "RUNTIME_DIRECTORY": str(folder),
                }
                | (environ or {}),
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    @property
    def log(self):
        """What it said so far."""
        return self._log.read_text(errors="replace")

    def get(self, path, timeout=5.0):
        """Status and body; status 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return 0, ""

    def wait(self, true, seconds=60.0):
        """Wait until something is so; the agent must live meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if true():
                return self
            assert self.process.poll() is None, f"the agent ended with {self.process.returncode}: {self.log[-3000:]}"
            time.sleep(0.05)
        raise AssertionError(f"waited in vain: {self.log[-3000:]}")

    def ready(self):
        """Wait until the first window is accounted."""
        return self.wait(lambda: self.get("/-/ready")[0] == 200, 170)

    def metric(self, name):
        """Series of one metric, by their labels."""
        status, page = self.get("/metrics")
        assert status == 200, self.log[-3000:]
        return {labels: float(value) for labels, value in re.findall(rf"^{name}(\{{.*\}})? (\S+)$", page, re.MULTILINE)}

    def joules(self):
        """The energy counters."""
        return self.metric("wattshed_gpu_energy_joules_total")

    def metering(self, above=0.0):
        """Wait until every counter has passed a value, which it does only if energy is booked."""
        return self.wait(lambda: min(self.joules().values(), default=-1) > above)

    def law(self):
        """For each GPU, what is billed is what was measured (to 1e-6), and nothing is negative."""
        _, page = self.get("/metrics")
        whole, parts = {}, {}
        for uuid, value in re.findall(
            r'^wattshed_gpu_energy_joules_total\{gpu_uuid="([^"]+)",simulated="1"\} (\S+)$', page, re.MULTILINE
        ):
            whole[uuid] = float(value)
        for uuid, value in re.findall(
            r'^wattshed_(?:job|ended_jobs)_energy_joules_total\{.*gpu_uuid="([^"]+)".*\} (\S+)$', page, re.MULTILINE
        ):
            assert float(value) >= 0
            parts[uuid] = parts.get(uuid, 0.0) + float(value)
        assert whole
        for uuid, joules in whole.items():
            assert abs(parts[uuid] - joules) <= max(1e-6 * joules, 1e-5), (uuid, parts[uuid], joules)
        return whole

    def stop(self):
        """End it as a supervisor does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def not_less(after, before):
    """Whether no counter went backwards."""
    return all(after.get(series, -1.0) >= value for series, value in before.items())
