"""What the agent says of its own cost, beside what the kernel and the client library say."""

import gc
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.exporters import snapshots
from wattshed.exporters.formats.exposition import Writer
from wattshed.exporters.formats.self_metrics import PROCESS, process_families
from wattshed.exporters.own_process import host_cpu, own_process


def shown():
    """Read the page's process families: name -> (type, value)."""
    writer = Writer(openmetrics=False, on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    text = writer.write(replace(snapshots.empty(), meter="simulated"), process_families()).decode()
    return {family.samples[0].name: (family.type, family.samples[0].value) for family in parse_text(text)}


def test_names_and_values_are_those_of_the_client_library():
    theirs = {s.name: (m.type, s.value) for m in ProcessCollector(registry=None).collect() for s in m.samples}
    ours = shown()
    assert len(theirs) == 6
    assert ours.keys() - theirs.keys() == {"process_threads", "process_children_cpu_seconds_total"}
    for name, (kind, value) in theirs.items():
        assert ours[name][0] == kind
        assert ours[name][1] == pytest.approx(value, rel=0.05, abs=0.1), name


def test_every_fact_is_on_the_page_and_read_of_this_process():
    assert shown().keys() == {name for name, *_ in PROCESS}
    found = own_process()
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert found.cpu_s == pytest.approx(used.ru_utime + used.ru_stime, abs=0.1)
    assert found.threads == len(list(Path("/proc/self/task").iterdir()))
    assert found.max_fds == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found.resident_bytes <= used.ru_maxrss * 1024 * 1.1
    assert found.resident_bytes < found.virtual_bytes
    assert time.time() - 3600 * 24 < found.started_s <= time.time()


def test_threads_descriptors_and_ended_programs_count():
    gc.collect()  # what earlier tests left open is not closed in between
    before, done = own_process(), threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(3)]
    for one in threads:
        one.start()
    pipe = os.pipe()
    try:
        during = own_process()
        assert (during.threads - before.threads, during.open_fds - before.open_fds) == (3, 2)
    finally:
        done.set()
        for one in threads:
            one.join()
        for one in pipe:
            os.close(one)
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert own_process().children_cpu_s - during.children_cpu_s >= 0.15


def test_what_the_kernel_hides_has_no_series(monkeypatch):
    """Such as the descriptors of a process that may not be dumped."""

    def denied(self, *_):
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "num_fds", denied)
    monkeypatch.setattr(psutil.Process, "rlimit", denied)
    assert shown().keys() == {name for name, *_ in PROCESS} - {"process_open_fds", "process_max_fds"}


def test_the_hosts_processors_are_on_the_page_of_a_real_host_alone():
    writer = Writer(openmetrics=False, on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    pages = {
        meter: writer.write(replace(snapshots.empty(), meter=meter), process_families()).decode()
        for meter in ("nvml", "simulated", "trace")
    }
    assert [meter for meter, page in pages.items() if 'wattshed_host_cpu_seconds_total{mode="idle"}' in page] == [
        "nvml"
    ]
    by_kernel = [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    assert sum(host_cpu().values()) == pytest.approx(sum(by_kernel) / os.sysconf("SC_CLK_TCK"), rel=0.01)
