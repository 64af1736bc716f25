"""The shipped unit in a real systemd: what it promises is what happens."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.deploy.namespaces import PYTHONPATH, Machine, missing
from wattshed.agent.daemon.systemd import Notifier
from wattshed.agent.host.sysfs import given_files

SYSTEMD = Path(__file__).resolve().parents[2] / "deploy/systemd"
UNIT = (SYSTEMD / "wattshed.service").read_text()
DROP_INS = {path.name: path.read_text() for path in sorted((SYSTEMD / "drop-ins").glob("*.conf"))}
CONFIG = """\
meter = "simulated"
record = "/var/lib/wattshed/recording"
[sampling]
window_s = 0.5
"""
READER = """\
# A manager hands credentials over by access control lists, which file systems of namespaces may lack.
[Service]
LoadCredential=
RuntimeDirectory=secret
ExecStartPre=+/bin/sh -c "cp /etc/wattshed/bmc /run/secret/ && chown --reference=/run/secret/. /run/secret/bmc"
ExecStart=
ExecStart=/srv/in/wattshed meters redfish --password-file /run/secret/bmc --into - $FLAGS
"""
ENVIRONMENT = "WATTSHED_URL=http://127.0.0.1:8443\nWATTSHED_LOGIN=wattshed\nFLAGS=--period 1\n"
BMC = f"""\
[Service]
Environment=PYTHONPATH=/srv/tree:{PYTHONPATH} LD_LIBRARY_PATH=/srv/python/lib
ExecStart=/srv/python/bin/python3.{sys.version_info.minor} -P -m tests.host.bmc 8443
"""
FAST = "[Service]\nWatchdogSec=4\nRestartSec=100ms\nNice=0\nExecStart=\nExecStart=/srv/in/wattshed run\n"


@pytest.fixture(scope="module")
def _peer():
    lacking = missing() or ("" if shutil.which("systemd-analyze") else "systemd-analyze is not installed")
    if lacking and os.environ.get("CI_REAL"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)


pytestmark = [pytest.mark.real, pytest.mark.usefixtures("_peer")]


def _with_drop_in(tmp_path, name):
    """The unit as a folder with at most one drop-in, its program replaced by one that every machine has."""
    unit = tmp_path / "wattshed.service"
    unit.write_text(UNIT.replace("/usr/bin/wattshed", "/bin/true"))
    if name:
        drop_in = tmp_path / "wattshed.service.d" / name
        drop_in.parent.mkdir()
        drop_in.write_text(DROP_INS[name])
    return unit


@pytest.mark.parametrize("name", ["", *DROP_INS])
def test_the_unit_verifies_without_a_word(tmp_path, name):
    done = subprocess.run(
        ["systemd-analyze", "verify", str(_with_drop_in(tmp_path, name))], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "Unknown key 'OpenFile'" not in line]
    assert (done.returncode, said) == (0, []), "that key is of systemd 253"


def test_a_unit_around_which_the_agent_lets_go_verifies_without_a_word(tmp_path):
    unit = tmp_path / "mig.service"
    around = (SYSTEMD / "around/wattshed.conf").read_text().replace("/usr/bin/wattshed", "/bin/true")
    unit.write_text("[Unit]\nDescription=x\n" + around + "ExecStart=/bin/true\nType=oneshot\n")
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# Root, for a device that is root's, without a capability and without a network; and a client of one server.
@pytest.mark.parametrize(
    ("name", "most"), [("wattshed-collect", 1.7), ("wattshed-ipmi", 1.0), ("wattshed-redfish", 1.7)]
)
def test_other_units_verify_without_a_word_and_are_hardly_exposed(tmp_path, name, most):
    text = (SYSTEMD / f"{name}.service").read_text()
    unit = tmp_path / f"{name}.service"
    unit.write_text(text.replace("/usr/bin/wattshed", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    shown = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert float(re.search(rf"exposure level for {name}.service: ([\d.]+)", shown)[1]) <= most, shown


def test_files_that_the_manager_opens_are_known_to_the_agent_by_their_names():
    opened = re.findall(r"^OpenFile=(.*)$", DROP_INS["rapl.conf"], re.MULTILINE)
    assert len(opened) == 16
    for line in opened:
        path, name, options = line.split(":")  # so does systemd, and then undoes what is escaped
        path = path.replace(r"\x3a", ":")
        told = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": name}
        assert {f"/sys/{known}": fd for known, fd in given_files(told, 1).items()} == {path: 3}
        assert options == "read-only,graceful"


def test_rules_of_devices_are_whole():
    """As udev(7) has them; `udevadm verify` is of systemd 254."""
    part = re.compile(r'(ACTION|SUBSYSTEM|KERNEL|TEST|RUN|ATTR\{[\w/]+\})(==|!=|=|\+=)"[^"]+"')
    rules = [line for line in (SYSTEMD / "60-wattshed.rules").read_text().splitlines() if not line.startswith("#")]
    for rule in rules:
        parts = [part.fullmatch(one) for one in rule.split(", ")]
        assert all(parts), rule
        assert any(one[2] in {"=", "+="} for one in parts), "it does something"
    groups = re.findall(r"^g (\S+)", (SYSTEMD / "sysusers.conf").read_text(), re.MULTILINE)
    group = re.search(r"chgrp (\S+) /sys%p/energy_uj", rules[0])[1]
    assert group in groups
    assert f"SupplementaryGroups={group}" in (SYSTEMD / "20-rapl.conf").read_text()


# Two capabilities over the whole host are worth what they cost in exposure; the default has none.
@pytest.mark.parametrize(
    ("name", "most"), [("", 1.6), ("compile.conf", 1.7), ("environ.conf", 2.8), ("rapl.conf", 1.6)]
)
def test_exposure(tmp_path, name, most):
    unit = tmp_path / "wattshed.service"
    unit.write_text(UNIT + (DROP_INS[name] if name else ""))
    shown = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert float(re.search(r"exposure level for wattshed.service: ([\d.]+)", shown)[1]) <= most, shown


def get(machine, path):
    done = machine.try_("curl", "-s", "-m", "5", "-w", "\n%{http_code}", f"http://127.0.0.1:9961{path}")
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), body


def joules(machine):
    status, page = get(machine, "/metrics")
    assert status == 200, machine.logs()
    found = re.findall(
        r'^wattshed_gpu_energy_joules_total\{gpu_uuid="([^"]+)",simulated="1"\} (\S+)$', page, re.MULTILINE
    )
    assert found, page
    return {uuid: float(value) for uuid, value in found}


def ready(machine):
    return get(machine, "/-/ready")[0] == 200


def back(machine, restarts):
    """Wait until the unit was restarted so often and accounts again."""
    machine.wait(lambda: machine.show("NRestarts")["NRestarts"] == str(restarts), 60)
    machine.wait(lambda: machine.show("ActiveState")["ActiveState"] == "active", 120)
    assert ready(machine)


@pytest.fixture(scope="module")
def machine(tmp_path_factory, _peer):
    folder = tmp_path_factory.mktemp("machine", numbered=True)
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    units = {
        "wattshed.service": UNIT,
        "wattshed.service.d/10-test.conf": FAST,
        "wattshed-redfish.service": (SYSTEMD / "wattshed-redfish.service").read_text(),
        "wattshed-redfish.service.d/10-test.conf": READER,
        "bmc.service": BMC,
    }
    etc = {"config.toml": CONFIG, "redfish.env": ENVIRONMENT, "bmc": "s3cret\n"}
    with Machine(folder, units, etc) as booted:
        yield booted


@pytest.mark.timeout(120)
def test_what_a_bmc_says_reaches_the_agent_by_roots_file(machine):
    """Asked by a user who is nobody, written through a file that the manager opened, taken because it is root's."""
    machine.try_("systemd-tmpfiles", "--create", "/srv/tree/deploy/systemd/tmpfiles.conf")
    machine.run("systemctl", "start", "bmc.service")
    machine.wait(lambda: machine.try_("curl", "-s", "http://127.0.0.1:8443/sessions").stdout == "[]", 30)
    machine.run("systemctl", "start", "wattshed-redfish.service")
    path = "/run/wattshed-meters/redfish.json"
    machine.wait(lambda: "power_mw" in machine.try_("cat", path).stdout, 30)
    assert machine.run("stat", "-c", "%U %a", "/run/wattshed-meters", path) == "root 755\nroot 644\n"
    pid = machine.show("MainPID", unit="wattshed-redfish.service")["MainPID"]
    assert machine.run("stat", "-c", "%u", f"/proc/{pid}").strip() not in {"", "0"}
    told = json.loads(machine.try_("/srv/in/wattshed", "check", "--json").stdout)
    (meter,) = told["host_meters"]["meters"]
    assert (meter["source"], meter["domain"], meter["boundary"]) == ("redfish", "node", "ac")
    machine.run("systemctl", "stop", "wattshed-redfish.service")
    assert machine.run("curl", "-s", "http://127.0.0.1:8443/sessions") == "[]"


@pytest.mark.timeout(240)
def test_a_life(machine):
    """One start, watched from outside; then a kill, a hang, a reload, and nothing lost but what is said."""
    machine.run("systemctl", "start", "--no-block", "wattshed.service")
    early = []
    while machine.show("ActiveState")["ActiveState"] == "activating":
        early.append(get(machine, "/-/ready")[0])
    assert 503 in early, "the server answers before the first window, and says that it is not ready"
    assert machine.show("ActiveState")["ActiveState"] == "active", machine.logs()
    assert json.loads(get(machine, "/api/v1/snapshot")[1])["seq"] >= 1, "readiness means that a window is accounted"

    machine.wait(lambda: min(joules(machine).values()) > 0, 30)
    _check_privileges(machine)
    _check_who_is_told_about_jobs(machine)
    _check_jobs_are_answered(machine)

    before = joules(machine)
    machine.run("systemctl", "kill", "-s", "KILL", "wattshed.service")
    back(machine, 1)
    after = joules(machine)
    assert all(after[uuid] >= before[uuid] for uuid in before), (before, after)

    # A sampler that hangs: the process is there, and says nothing.
    machine.run("systemctl", "kill", "-s", "STOP", "wattshed.service")
    back(machine, 2)
    assert "Watchdog timeout" in machine.logs()
    assert all(joules(machine)[uuid] >= after[uuid] for uuid in after)

    _check_reload(machine)
    _check_same_joules_in_every_form(machine)

    machine.run("systemctl", "stop", "wattshed.service")
    assert machine.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    _check_written(machine)


def _check_jobs_are_answered(machine):
    """Any user's process may ask at the jobs' socket; one that is none of the simulated node is told so."""
    ask = (
        "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(5); "
        "s.connect('/run/wattshed/agent.sock'); s.send(b'{\"op\": \"hello\"}'); print(s.recv(4096).decode())"
    )
    told = machine.run("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "/usr/bin/python3", "-c", ask)
    assert "sees no process" in json.loads(told)["error"]


def _check_who_is_told_about_jobs(machine):
    """Root gets everybody's, another user their own: the simulated node's are others'; nobody is nobody."""
    curl = ["curl", "-sS", "-m", "5", "--unix-socket", "/run/wattshed/api.sock", "http://x/api/v1/jobs"]
    everybodys = json.loads(machine.run(*curl))
    assert everybodys["scope"] == "all"
    assert {job["job"] for job in everybodys["jobs"]} >= {"slurm:4001"}
    own = json.loads(machine.run("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", *curl))
    assert (own["scope"], own["jobs"]) == ("own", [])
    assert "sees no jobs" in machine.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *curl)


def _check_privileges(machine):
    pid = machine.show("MainPID")["MainPID"]
    status = dict(
        line.split(":\t", 1) for line in machine.run("cat", f"/proc/{pid}/status").split("\n") if ":\t" in line
    )
    assert all(61184 <= int(uid) <= 65519 for uid in status["Uid"].split()), "a dynamic user (systemd.exec(5))"
    held = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert not any(held.values()), held
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    uid = status["Uid"].split()[0]

    def may_write(folder):
        enter = ["nsenter", "-t", pid, "-m", "--", "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        return machine.try_(*enter, "sh", "-c", f"echo > {folder}/probe && rm {folder}/probe").returncode == 0

    assert {f for f in ("/var/lib/wattshed", "/var/cache/wattshed", "/tmp") if may_write(f)} == {
        "/var/lib/wattshed",
        "/var/cache/wattshed",
        "/tmp",
    }
    shut = [
        "/",
        "/etc",
        "/etc/wattshed",
        "/usr",
        "/usr/bin",
        "/var/lib",
        "/var/log",
        "/run",
        "/root",
        "/srv",
        "/boot",
        "/dev",
    ]
    assert not [folder for folder in shut if may_write(folder)]


def _check_reload(machine):
    """A broken file is one line in the log and changes nothing; a good one is taken."""
    pid = machine.show("MainPID")
    machine.run("sh", "-c", "echo 'metre = 1' >> /etc/wattshed/config.toml")
    machine.run("systemctl", "reload", "wattshed.service")
    machine.wait(lambda: "did you mean meter?" in machine.logs(), 20)
    machine.run("sh", "-c", "sed -i '$d' /etc/wattshed/config.toml")
    machine.run("sh", "-c", "printf '[log]\\nlevel = \"debug\"\\n' >> /etc/wattshed/config.toml")
    machine.run("systemctl", "reload", "wattshed.service")
    machine.wait(lambda: "configuration reloaded" in machine.logs(), 20)
    assert machine.show("MainPID") == pid
    assert ready(machine)


def _check_same_joules_in_every_form(machine):
    """A library is compiled where that is allowed and runs where it is not, to the same joules, to the last digit."""
    machine.run("cp", "-r", "/var/lib/wattshed/recording", "/run/recording")
    machine.run("chmod", "-R", "a+rX", "/run/recording")
    assert machine.show("MemoryDenyWriteExecute") == {"MemoryDenyWriteExecute": "yes"}
    plain = _replayed(machine, "yes", "off")
    assert plain["total_j"] > 0
    assert _replayed(machine, "no", "numba") == plain
    _as_the_agent(machine, "no", "auto", "warm")
    assert _replayed(machine, "yes", "auto") == plain
    before = joules(machine)
    machine.run("systemctl", "restart", "wattshed.service")
    linked = machine.try_("sh", "-c", "command -v cc || command -v gcc || command -v clang").returncode == 0
    assert f'wattshed_kernels_info{{form="{"so" if linked else "off"}"' in get(machine, "/metrics")[1]
    time.sleep(1)
    after = joules(machine)
    assert all(after[uuid] > before[uuid] for uuid in before)


def _replayed(machine, denied, form):
    return json.loads(_as_the_agent(machine, denied, form, "replay", "/run/recording", "--format", "json"))


def _as_the_agent(machine, denied, form, *words):
    """Run a command as the service's own user, so that its compiled kernels serve here too."""
    machine.run("systemctl", "is-active", "wattshed.service")
    about = ["DynamicUser=yes", "User=wattshed", "CacheDirectory=wattshed", f"MemoryDenyWriteExecute={denied}"]
    about += ["Environment=NUMBA_CACHE_DIR=/var/cache/wattshed", f"Environment=WATTSHED_JIT={form}"]
    properties = [word for one in about for word in ("-p", one)]
    return machine.run("systemd-run", "--wait", "--pipe", "--quiet", *properties, "/srv/in/wattshed", *words)


def _check_written(machine):
    """Whatever the agent's user made lies in its two folders."""
    stray = machine.try_(
        "find",
        "/etc",
        "/run",
        "/tmp",
        "/var",
        "/srv/in",
        "-xdev",
        "-newer",
        "/etc/wattshed",
        "-type",
        "f",
        "-uid",
        "+61183",
        "-not",
        "-path",
        "/var/lib/private/wattshed/*",
        "-not",
        "-path",
        "/var/cache/private/*",
    )
    assert stray.stdout == ""
    made = machine.run("find", "/var/lib/private/wattshed", "-type", "f")
    assert "recording" in made
    assert len(made.split()) >= 2, "a recording and the totals"


@pytest.mark.timeout(180)
def test_without_a_driver_the_unit_starts_waits_and_says_so(machine):
    """What the packages ship: no driver is not a failed start, the watchdog is content, and nothing is made up."""
    machine.try_("systemctl", "stop", "wattshed.service")
    machine.run("sh", "-c", "cp /etc/wattshed/config.toml /run/kept; : > /etc/wattshed/config.toml")
    machine.try_("systemctl", "reset-failed", "wattshed.service")
    machine.run("systemctl", "start", "wattshed.service")
    shown = machine.show("ActiveState", "StatusText", "NRestarts", "DeviceAllow")
    assert (shown["ActiveState"], shown["NRestarts"]) == ("active", "0")
    assert shown["StatusText"].startswith("waiting for the NVIDIA driver: no NVML library")
    assert "char-195 rw" in shown["DeviceAllow"], "a driver that is loaded later is let in"
    time.sleep(6)  # the watchdog of this unit bites after 4 s
    assert machine.show("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}
    assert [get(machine, path)[0] for path in ("/-/ready", "/-/healthy")] == [503, 200]
    page = get(machine, "/metrics")[1]
    assert "\nwattshed_up 0\n" in page
    assert not [line for line in page.splitlines() if "_joules" in line or "_watts" in line or "simulated=" in line]
    machine.run("systemctl", "reload", "wattshed.service")
    machine.run("systemctl", "stop", "wattshed.service")
    assert machine.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    machine.run("cp", "/run/kept", "/etc/wattshed/config.toml")


@pytest.mark.timeout(120)
def test_a_wrong_configuration_starts_nothing_and_is_not_tried_again(machine):
    machine.try_("systemctl", "stop", "wattshed.service")
    machine.run("sh", "-c", "cp /etc/wattshed/config.toml /run/kept; echo 'wrong = 1' > /etc/wattshed/config.toml")
    done = machine.try_("systemctl", "start", "wattshed.service")
    machine.run("cp", "/run/kept", "/etc/wattshed/config.toml")
    assert done.returncode != 0
    shown = machine.show("ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
    assert "/etc/wattshed/config.toml:1:1: wrong: unknown key" in machine.logs()


def test_the_protocol_is_that_of_sd_notify(tmp_path):
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(2)
        environ = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "4000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        notifier = Notifier(environ)
        assert (notifier.present, notifier.watchdog_s) == (True, 4.0)
        notifier.ready("all\nwell")
        assert manager.recv(100) == b"READY=1\nSTATUS=all well"
        notifier.watchdog()
        assert manager.recv(100) == b"WATCHDOG=1"
        notifier.status("so\nso")
        assert manager.recv(100) == b"STATUS=so so"
        notifier.stopping()
        assert manager.recv(100) == b"STOPPING=1"
        notifier.reloading()
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert Notifier(environ | {"WATCHDOG_PID": "1"}).watchdog_s == 0, "another process is watched"
    notifier.ready()  # nobody listens any more: no exception, no wait
    assert not Notifier({}).present
