"""The packages on a clean Debian: install, every command, upgrade, downgrade, remove, purge."""

import pytest

from tests.deploy.namespaces import Machine

CONFFILE = "/etc/wattshed/config.toml"
SITE = "/usr/lib/wattshed/lib/python3.11/site-packages/wattshed"
MINUTE = "/usr/share/doc/wattshed/examples/recordings/h200-minute"
COMMANDS = {
    "check": "This host cannot be measured: no NVML library",
    "completion bash": "complete ",
    f"config --check {CONFFILE}": "good",
    f"convert {MINUTE} /tmp/minute --to parquet": "",
    "replay /tmp/minute --format json": "22530.",
    f"replay {MINUTE}": "22,530.9",
    "report --by user": "",
    "dashboards /tmp/boards": "wattshed-host.json",
    "fleet scenario xai-memphis": "MW",
    "bench --samples 100000 --rounds 1 --no-rivals --only energy": "agree",
    "warm": f"{SITE}/kernels/lib/kernels-",
    "top --once": "",
    "jobs": "",
}
"""What the installed package is asked, and a part of what it answers."""
WHERE_NOTHING_IS_COMPILED = {
    "warm": "wattshed: the kernels are not compiled: numba, the compiler, is not installed (deb and rpm",
    "check": "`pip install wattshed` in a virtual environment installs it",
    f"replay {MINUTE}": "22,530.9",
    f"replay {MINUTE} --device cuda": "wattshed: --device cuda: no usable CUDA device here",
    "config": "",
}


def page(machine):
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9961/metrics', timeout=5).read().decode())"
    return machine.try_("python3.11", "-c", code).stdout.split("\n")


def scraped(machine):
    found = [line.rsplit(" ", 1) for line in page(machine) if line.startswith("wattshed_gpu_energy_joules_total{")]
    return {series: float(value) for series, value in found}


def installed(machine, number, *, totals):
    """Install a version over another, which runs; the new one runs when this returns."""
    pid, before = machine.show("MainPID"), scraped(machine)
    machine.run("dpkg", "-i", f"/srv/in/wattshed_{number}_amd64.deb")
    machine.wait(lambda: machine.show("MainPID") != pid and machine.show("ActiveState")["ActiveState"] == "active", 120)
    machine.wait(lambda: scraped(machine), 30)
    after = scraped(machine)
    check_totals(before, after, totals)
    assert number in machine.run("dpkg-query", "-W", "-f", "${Version}", "wattshed")


def check_totals(before, after, totals):
    """They go on from what was published, or begin again: whoever reads them never takes old energy for new."""
    assert before.keys() == after.keys() != set()
    for series in before:
        assert (after[series] >= before[series]) == (totals == "go on"), (series, totals, before, after)


def commands_answer(machine, expected):
    for command, part in expected.items():
        done = machine.try_("env", "HOME=/tmp", "wattshed", *command.split())
        said = " ".join((done.stdout + done.stderr).split())
        assert part in said, f"{command}: {said}"
        assert "Traceback" not in said, f"{command}: {said}"


@pytest.mark.real
@pytest.mark.timeout(600)
def test_install_start_upgrade_downgrade_remove_purge(debian, packages):
    with Machine(packages, root=debian) as machine:
        machine.run("dpkg", "-i", "/srv/in/wattshed_1.0.0_amd64.deb")
        machine.wait(lambda: machine.show("ActiveState")["ActiveState"] == "active", 120)
        check_as_shipped(machine)
        commands_answer(machine, COMMANDS)
        check_without_a_library(machine)

        machine.run(
            "sh", "-c", f"printf 'meter = \"simulated\"\n' | cat - {CONFFILE} > /tmp/new && cp /tmp/new {CONFFILE}"
        )
        changed = machine.run("cat", CONFFILE)
        machine.run("systemctl", "restart", "wattshed.service")
        machine.wait(lambda: any(value > 0 for value in scraped(machine).values()), 120)
        installed(machine, "1.0.1", totals="go on")
        assert machine.run("cat", CONFFILE) == changed, "a changed configuration is the administrator's"
        installed(machine, "1.0.0", totals="go on")
        check_a_newer_state(machine)
        check_upgrade_of_what_is_stopped(machine)
        check_removed_and_purged(machine, changed)


def check_as_shipped(machine):
    """A machine without a driver is metered by nobody, and says so."""
    assert machine.show("UnitFileState") == {"UnitFileState": "enabled"}
    assert "wattshed_up 0" in page(machine)
    assert scraped(machine) == {}
    assert machine.show("StatusText")["StatusText"].startswith("waiting for the NVIDIA driver: no NVML library")
    assert machine.run("wattshed", "--version").split()[0] == "wattshed"
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/wattshed") == "root:root 755\n"
    assert "wattshed-web" in machine.run("cat", "/etc/group")
    for script in ("prolog.sh", "epilog.sh", "task-epilog.sh"):
        assert machine.run("env", "-u", "SLURM_JOB_ID", f"/usr/lib/wattshed/{script}") == "", "no job, no word"


def check_without_a_library(machine):
    """On a processor that the package has no kernels for, everything works, and what cannot be says what to do."""
    machine.run("mv", f"{SITE}/kernels/lib", "/tmp/lib")
    commands_answer(machine, WHERE_NOTHING_IS_COMPILED)
    machine.run("mv", "/tmp/lib", f"{SITE}/kernels/lib")


def check_a_newer_state(machine):
    """A version with a state of its own form is installed, then this one again: each finds what it can read."""
    before = scraped(machine)
    machine.run("dpkg", "--unpack", "/srv/in/wattshed_1.0.1_amd64.deb")
    machine.run("sed", "-i", "s/^VERSION = .*/VERSION = 99/", f"{SITE}/agent/accounts/whole_state.py")
    machine.run("find", f"{SITE}/agent/accounts/__pycache__", "-name", "whole_state.*", "-delete")
    folder = "/var/lib/private/wattshed"
    pid = machine.show("MainPID")
    machine.run("dpkg", "--configure", "wattshed")
    machine.wait(lambda: machine.show("MainPID") != pid and machine.show("ActiveState")["ActiveState"] == "active", 120)
    machine.wait(lambda: scraped(machine), 30)
    check_totals(before, scraped(machine), "go on")
    machine.wait(lambda: b" 99 " in machine.run("head", "-n1", f"{folder}/simulated.json").encode(), 60)
    installed(machine, "1.0.0", totals="begin again")
    kept = machine.run("sh", "-c", f"head -qn1 {folder}/*-version-99/*.json")
    assert " 99 " in kept
    said = [line for line in machine.logs().split("\n") if "newer wattshed" in line]
    assert len(said) == 1, said


def check_upgrade_of_what_is_stopped(machine):
    """Restarted is what ran, and nothing else."""
    machine.run("systemctl", "stop", "wattshed.service")
    machine.run("dpkg", "-i", "/srv/in/wattshed_1.0.1_amd64.deb")
    assert machine.show("ActiveState", "UnitFileState") == {"ActiveState": "inactive", "UnitFileState": "enabled"}
    machine.run("systemctl", "disable", "--quiet", "wattshed.service")
    machine.run("dpkg", "-i", "/srv/in/wattshed_1.0.0_amd64.deb")
    assert machine.show("ActiveState", "UnitFileState") == {"ActiveState": "inactive", "UnitFileState": "disabled"}
    machine.run("systemctl", "start", "wattshed.service")


def check_removed_and_purged(machine, changed):
    machine.run("dpkg", "--remove", "wattshed")
    assert machine.try_("systemctl", "is-active", "wattshed").stdout.strip() in {"inactive", "failed"}
    left = machine.try_("sh", "-c", "ls -d /usr/lib/wattshed /usr/bin/wattshed /usr/lib/systemd/system/wattshed*")
    assert left.stdout == ""
    assert machine.run("cat", CONFFILE) == changed
    assert machine.run("ls", "/var/lib/private/wattshed") != "", "the bill outlives the program"
    machine.run("dpkg", "--purge", "wattshed")
    left = machine.try_(
        "find", "/", "-xdev", "-name", "*wattshed*", "-not", "-path", "/srv/*", "-not", "-path", "/proc/*"
    )
    known = ("/var/lib/dpkg/", "/var/log/", "/etc/group", "/tmp/", "/run/")
    assert [p for p in left.stdout.split() if not p.startswith(known)] == []
