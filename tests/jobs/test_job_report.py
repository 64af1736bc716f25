"""What wattshed-jobs tells a job of its joules: over http, TLS with a user, and a socket; and why it cannot."""

import base64
import json
import re
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import pytest
import trustme

from tests.wire.servers import serving, serving_on

SCRIPT = Path(__file__).parents[2] / "deploy/slurm/wattshed-jobs"
SNAPSHOT = b'{"jobs": [{"job": "slurm:77", "energy_j": 1.0}, {"job": "slurm:7", "energy_j": 3.6001e3}]}'
USED = "wattshed: job 7 used 3600.1 J (0.001000 kWh) of GPU energy on "

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@pytest.fixture
def report(tmp_path):
    """Return what the script says, with what it logs in ``report.log``; ``without`` leaves a program out."""
    programs = tmp_path / "bin"
    programs.mkdir()
    log = tmp_path / "log"

    def run(url, *, without="", **environ):
        for name in ("sh", "curl", "wget", "awk", "tr", "sed", "tail", "head", "uname", "printf"):
            (programs / name).unlink(missing_ok=True)
            if name != without and (found := shutil.which(name)):
                (programs / name).symlink_to(found)
        (programs / "logger").write_text(f'#!/bin/sh\necho "$@" >>{log}\n')
        (programs / "logger").chmod(0o755)
        copy = tmp_path / "wattshed-jobs"
        copy.write_text(SCRIPT.read_text().replace("\nPATH=/usr/sbin:/usr/bin:/sbin:/bin", f"\nPATH={programs}"))
        log.write_text("")
        env = {"SLURM_JOB_ID": "7", "WATTSHED_URL": url, **environ}
        done = subprocess.run(["/bin/sh", copy, "report"], env=env, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        run.log = log.read_text().strip()
        return done.stdout

    return run


def test_over_http_by_curl_and_by_wget(report):
    with serving() as agent:
        for without in ("wget", "curl"):
            agent.script.append((200, {}, SNAPSHOT))
            assert report(agent.url, without=without).startswith(USED)
            assert report.log == ""
        assert [asked.target for asked in agent.asked] == ["/api/v1/snapshot"] * 2


def test_over_tls_with_a_user_whose_password_no_argument_shows(report, tmp_path):
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "password").write_text('p"a\\ss\n')
    told = {"WATTSHED_CA_FILE": str(tmp_path / "ca.pem")}
    user = {"WATTSHED_LOGIN": "node", "WATTSHED_PASSWORD_FILE": str(tmp_path / "password")}
    with serving(tls=context) as agent:
        agent.script += [(200, {}, SNAPSHOT), (401, {}, b"unauthorized")]
        assert report(agent.url, **told, **user).startswith(USED)
        sent = agent.asked[0].headers["Authorization"].removeprefix("Basic ")
        assert base64.b64decode(sent) == b'node:p"a\\ss'
        assert report(agent.url, **told) == ""
        assert "401: set WATTSHED_LOGIN and WATTSHED_PASSWORD_FILE" in report.log
        assert report(agent.url) == ""
        assert "WATTSHED_CA_FILE in /etc/wattshed/slurm.env may name your own CA" in report.log
        assert report(agent.url.replace("https", "http")) == ""
        assert "WATTSHED_URL begins with https://" in report.log
        assert report(agent.url, without="curl", **told) == ""
        assert report.log.endswith("a CA file or a user needs curl")
    assert report(agent.url) == ""
    assert f"job 7: {agent.url}: " in report.log


def test_the_epilog_waits_for_what_is_final(tmp_path):
    """It runs on, energy comes late, and then it stands: this is what is logged, once."""
    answers = [(None, "3.5"), (1800000000.5, "3599.25"), (1800000000.5, "3600.125"), (1800000000.5, "3600.125")]
    log, mapping, programs = tmp_path / "log", tmp_path / "mapping", tmp_path / "bin"
    programs.mkdir()
    (programs / "logger").write_text(f"#!/bin/sh\ncat >>{log}\n")
    (programs / "sleep").write_text("#!/bin/sh\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    (mapping / "jobs").mkdir(parents=True)
    (mapping / ".gpus").write_text("- - -\n")
    copy = tmp_path / "wattshed-jobs"
    copy.write_text(SCRIPT.read_text().replace("\nPATH=", f"\nPATH={programs}:", 1))
    job = {"job": "slurm:7", "labels": {}, "energy_j": "1", "by_gpu": [{"energy_j": "5"}]}
    with serving() as agent:
        for at, joules in answers:
            document = {"job": job | {"end_s": at, "energy_j": joules}, "earlier": [job | {"end_s": 1.0}]}
            agent.script.append((200, {}, json.dumps(document).encode()))
        env = {"SLURM_JOB_ID": "7", "WATTSHED_URL": agent.url, "WATTSHED_MAPPING_DIR": str(mapping)}
        subprocess.run(["/bin/sh", copy, "epilog"], env=env, check=True)
        give_up = time.monotonic() + 20
        while not (log.exists() and log.read_text()):
            assert time.monotonic() < give_up
            time.sleep(0.02)
    assert re.fullmatch(r"wattshed: job 7 used 3600\.1 J \(0\.001000 kWh\) of GPU energy on \S+\n", log.read_text())
    assert len(agent.asked) == 4


def test_over_the_socket_that_knows_who_asks(report, tmp_path):
    path = tmp_path / "api.sock"
    (tmp_path / "password").write_text("secret\n")
    job = {"job": "slurm:7", "labels": {"name": '{"job":"slurm:7","energy_j":"1"'}, "energy_j": "3600.125"}
    answer = {"schema": "wattshed.job/1", "job": job, "earlier": [job | {"energy_j": "5"}]}
    with serving_on(path) as agent:
        agent.script += [(200, {}, json.dumps(answer).encode()), (404, {}, b'{"error": "no such job"}')]
        assert report(f"unix:{path}").startswith(USED)
        assert report(f"unix:{path}", SLURM_JOB_ID="8") == report.log == ""  # a job that used no GPU
    assert [asked.target for asked in agent.asked] == ["/api/v1/jobs/slurm:7", "/api/v1/jobs/slurm:8"]
    assert not any("Authorization" in asked.headers for asked in agent.asked)
    path.unlink()
    assert report(f"unix:{path}") == ""
    assert f"job 7: unix:{path}: curl: (7)" in report.log
