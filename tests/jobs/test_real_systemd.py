"""A real systemd that delegates a service's cgroup to the service's user, who forges a pod's below it."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests.deploy.namespaces import PYTHONPATH, Machine, missing
from wattshed.agent.jobs.cgroup import identify

pytestmark = pytest.mark.real
POD, CONTAINER = "2fc932ce-fdcc-454b-97bd-aadfdeb4c340", "a1" * 32
FORGED = f"kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/cri-containerd-{CONTAINER}.scope"
FORGE = f"""\
while IFS=: read -r number name own; do
    case $number:$name in
        0:) roots="/sys/fs/cgroup/unified /sys/fs/cgroup" ;;
        *:name=systemd) roots=/sys/fs/cgroup/systemd ;;
        *) continue ;;
    esac
    for root in $roots; do
        mkdir -p "$root$own/{FORGED}" && echo $$ >"$root$own/{FORGED}/cgroup.procs" && break
    done
done </proc/self/cgroup
exec sleep 600
"""
UNIT = "[Service]\nUser=nobody\nExecStart=/bin/sh /srv/in/forge.sh\n"
LOOK = """\
import dataclasses, json, sys
from pathlib import Path
from wattshed.agent.jobs.processes import Processes
processes = Processes(Path("/proc"), lambda: 0)
print(json.dumps({pid: dataclasses.asdict(processes.look(int(pid)).identity) for pid in sys.argv[1:]}))
"""
UNITS = {
    "alice.service": UNIT + "Delegate=yes\n",
    "plain.service": UNIT,
    # of a slice of its own, where the names of units say nothing either
    "bob.service": UNIT + "Delegate=yes\nSlice=lab.slice\n",
    # called like what makes pods, but run by a user: only the owner of the folder tells
    "kubelet.service": UNIT + "Delegate=yes\n",
}


@pytest.fixture
def machine(tmp_path):
    lacking = missing()
    if lacking and os.environ.get("CI_REAL"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    (tmp_path / "forge.sh").write_text(FORGE)
    (tmp_path / "look.py").write_text(LOOK)
    with Machine(tmp_path, UNITS) as booted:
        yield booted


@pytest.mark.timeout(180)
def test_what_systemd_delegates_names_nobody_else(machine):
    machine.run("systemctl", "start", *UNITS)
    pids = {unit: machine.show("MainPID", unit=unit)["MainPID"] for unit in UNITS}
    machine.wait(lambda: all(machine.run("cat", f"/proc/{p}/comm") == "sleep\n" for p in pids.values()), 20)
    texts = {unit: machine.run("cat", f"/proc/{pid}/cgroup") for unit, pid in pids.items()}
    assert all((FORGED in text) == (unit != "plain.service") for unit, text in texts.items()), texts
    python = f"/srv/python/bin/python3.{sys.version_info.minor}"
    environ = ("LD_LIBRARY_PATH=/srv/python/lib", f"PYTHONPATH={PYTHONPATH}")
    said = json.loads(machine.run("env", *environ, python, "/srv/in/look.py", *pids.values()))
    for unit, pid in pids.items():
        owner = said[pid]
        assert (owner["runtime"], owner["unit"], owner["pod_uid"]) == ("systemd", unit, None), texts[unit]
    assert identify(texts["kubelet.service"]).pod_uid == POD, "the name alone would have been believed"
