"""What the packages' scripts ask of systemd, called as dpkg and as rpm call them: rpm counts what will be installed."""

import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "deploy/packages"
ALL = "wattshed.service wattshed-collect.service wattshed-ipmi.service wattshed-redfish.service"
STARTED = ["enable --quiet wattshed.service", "daemon-reload", "--no-block start wattshed.service"]
RESTARTED = ["daemon-reload", f"--no-block try-restart {ALL}"]
ENDED = [f"stop {ALL}", f"disable --quiet {ALL}"]


@pytest.fixture
def asked(tmp_path):
    """Run a script on a machine with systemd; returns how ``systemctl`` was called."""
    log = tmp_path / "log"
    for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles"):
        stand_in = tmp_path / name
        stand_in.write_text(f'#!/bin/sh\n[ "${{0##*/}}" != systemctl ] || echo "$*" >> {log}\n')
        stand_in.chmod(0o755)

    def run(name, *arguments):
        log.write_text("")
        script = (SCRIPTS / name).read_text().replace("/run/systemd/system", str(tmp_path))
        command = ["sh", "-c", script, name, *arguments]
        subprocess.run(command, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
        return log.read_text().splitlines()

    return run


@pytest.mark.parametrize(
    ("script", "arguments", "calls"),
    [
        ("postinstall.sh", ["configure", ""], STARTED),
        ("postinstall.sh", ["1"], STARTED),
        ("postinstall.sh", ["configure", "0.1.0-1"], RESTARTED),  # an older version over a newer one, too
        ("postinstall.sh", ["2"], RESTARTED),
        ("postinstall.sh", ["abort-upgrade", "0.1.0-1"], []),
        ("preremove.sh", ["remove"], ENDED),
        ("preremove.sh", ["0"], ENDED),
        ("preremove.sh", ["upgrade", "0.2.0-1"], []),
        ("preremove.sh", ["1"], []),
        ("postremove.sh", ["remove"], ["daemon-reload"]),
        ("postremove.sh", ["0"], ["daemon-reload"]),
    ],
)
def test_what_runs_is_restarted_and_only_a_removal_ends_it(asked, script, arguments, calls):
    assert asked(script, *arguments) == calls
