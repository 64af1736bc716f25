"""What the agent's process is made of where its kernels are not compiled in it: little, and nothing heavy."""

import re
from pathlib import Path

from tests.daemon.process import Agent

HEAVY = {"numba", "llvmlite", "pyarrow", "rich", "jinja2", "pandas", "polars", "scipy", "matplotlib", "psycopg"}
MOST_MIB = 70


def resident_mib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024


def test_it_is_small_and_imports_nothing_heavy(tmp_path):
    listed = tmp_path / "modules"
    prepare = f"""
import atexit, sys
atexit.register(lambda: open({str(listed)!r}, "w").write(" ".join(sys.modules)))
"""
    with Agent(tmp_path, prepare=prepare, environ={"WATTSHED_JIT": "off"}) as agent:
        agent.ready().metering()
        for path in ("/metrics", "/metrics/dcgm", "/api/v1/snapshot", "/"):
            assert agent.get(path)[0] == 200, path
        assert resident_mib(agent.process.pid) < MOST_MIB
        assert agent.stop() == 0
    modules = set(listed.read_text().split())
    assert "wattshed.agent.history.writer" in modules
    assert not {name.partition(".")[0] for name in modules} & HEAVY
