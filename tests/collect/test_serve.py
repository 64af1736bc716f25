"""Who is told what by a collector: over its socket, over TLS, and through a relay on a login node."""

import json
import os
import shutil
import ssl
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import trustme

from tests.collect.site import Site
from tests.history.made_up import MARCH_US, job, part
from wattshed.agent.collect.config import CollectSettings, TargetGroup
from wattshed.agent.collect.relay import Relay, RelayedQuestion
from wattshed.agent.collect.serve import CollectServer
from wattshed.agent.collect.service import SiteCollector
from wattshed.agent.errors import Faults, InputError
from wattshed.agent.wire.agents import DocumentServer, NoDocumentError
from wattshed.agent.wire.credentials import Credentials
from wattshed.agent.wire.http import Address
from wattshed.exporters.web.listen import ListenError


@pytest.fixture
def folder():
    one = Path(tempfile.mkdtemp(dir="/tmp"))
    one.chmod(0o755)
    yield one
    shutil.rmtree(one)


@pytest.fixture
def certificates(tmp_path):
    """Of a site: an authority, the collector, a relay, and somebody else."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("127.0.0.1", "login1.example", "other.example"):
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    (tmp_path / "web.yml").write_text(
        "tls_server_config: {cert_file: 127.0.0.1.pem, key_file: 127.0.0.1.pem, client_ca_file: ca.pem, "
        "client_auth_type: RequireAndVerifyClientCert}\n"
    )
    return lambda name: Credentials(ca_file=str(tmp_path / "ca.pem"), cert_file=str(tmp_path / f"{name}.pem"))


@pytest.fixture
def collector(tmp_path, folder, certificates):
    """A collector that knows a job of user 1000 and one of root's; gives its URL."""
    site = Site(tmp_path, 1)
    agent = site.agents["n0"]
    records = {(key, MARCH_US): job(key, uid=uid) for key, uid in (("slurm:1", 1000), ("slurm:2", 0))}
    agent.store.add([part(1, "slurm:1"), part(2, "slurm:2")], records, {"GPU-0": "H100"})
    settings = CollectSettings(
        str(folder / "site.db"), (TargetGroup((site.url("n0"),)),), listen=("127.0.0.1:0",),
        web_config_file=str(tmp_path / "web.yml"), socket=str(folder / "collect.sock"), relays=("login1.example",),
        tcp_users=("other.example",),
    )  # fmt: skip
    faults = Faults()
    service = SiteCollector(settings, faults)
    server = CollectServer(settings, service, faults)
    server.start()
    site.round(service.puller)
    yield next(one for one in server.addresses if one.startswith("https"))
    server.stop()
    service.stop()
    site.close()


def keys(document):
    return [one["job"] for one in document["jobs"]]


def as_user(uid, path, target="/api/v1/jobs"):
    """Ask as another user of the host: a child that has become them."""
    receives, sends = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            try:
                told = DocumentServer.of(f"unix:{path}").ask(target)
            except NoDocumentError as error:
                told = {"status": error.status, "why": str(error)}
            os.write(sends, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(sends)
    with os.fdopen(receives) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="asks as several users")


@needs_root
def test_the_socket_tells_each_user_their_own(collector, folder):
    path = folder / "collect.sock"
    assert keys(DocumentServer.of(f"unix:{path}").ask("/api/v1/jobs")) == ["slurm:2", "slurm:1"]
    assert keys(as_user(1000, path)) == ["slurm:1"]
    assert keys(as_user(1001, path)) == []
    assert as_user(1001, path, "/api/v1/jobs/slurm:1")["status"] == 404
    assert as_user(65534, path)["status"] == 403


@needs_root
def test_a_relay_tells_each_user_of_a_login_node_their_own(collector, folder, certificates):
    path = folder / "relay.sock"
    relay = Relay(collector, certificates("login1.example"), str(path))
    relay.start()
    try:
        assert keys(as_user(1000, path)) == ["slurm:1"]
        assert keys(as_user(1001, path)) == []
        # Root of a login node is not the site's.
        assert keys(DocumentServer.of(f"unix:{path}").ask("/api/v1/jobs")) == ["slurm:2"]
        for target in ("/api/v1/parts", "/api/v1/snapshot", "/metrics"):
            with pytest.raises(NoDocumentError) as told:
                DocumentServer.of(f"unix:{path}").ask(target)
            assert told.value.status == 403
    finally:
        relay.stop()
    other = Relay(collector, certificates("other.example"), str(path))
    other.start()
    try:  # it may see all jobs for itself, and speaks for nobody
        with pytest.raises(NoDocumentError, match="is no relay that is believed here"):
            DocumentServer.of(f"unix:{path}").ask("/api/v1/jobs")
    finally:
        other.stop()


def test_a_relay_asks_for_one_user_at_a_time():
    """Nobody is behind the address: whoever would be asked for everybody's is not."""
    question = RelayedQuestion(Address.parse("https://127.0.0.1:9", "--relay", ""), Credentials())
    assert question.answer("/api/v1/jobs", {}, None) == (403, {"error": "a relay asks for one user at a time"})
    assert question.answer("/api/v1/jobs", {}, 1000)[0] == 503


def status(url, credentials, **headers):
    context = ssl.create_default_context(cafile=credentials.ca_file)
    context.load_cert_chain(credentials.cert_file)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_over_tls_only_who_is_named_sees_all(collector, certificates):
    jobs = f"{collector}/api/v1/jobs"
    relay, other = certificates("login1.example"), certificates("other.example")
    assert status(jobs, other) == 200
    assert status(jobs, other, **{"X-Wattshed-Uid": "1000"}) == 403
    assert status(jobs, relay) == 403
    assert status(jobs, relay, **{"X-Wattshed-Uid": "1000"}) == 200
    for forged in ("-1", "", "1000 ", "ä".encode().decode("latin-1"), "0x0", "1" * 11):
        assert status(jobs, relay, **{"X-Wattshed-Uid": forged}) in {400, 403, 200 if forged == "1000 " else 403}


def test_a_relay_that_nobody_would_believe_does_not_start(folder, certificates):
    with pytest.raises(InputError, match="https:// address and --cert-file"):
        Relay("https://c:9962", Credentials(), str(folder / "x.sock"))
    with pytest.raises(InputError, match="https:// address and --cert-file"):
        Relay("http://c:9962", certificates("login1.example"), str(folder / "x.sock"))
    relay = Relay("https://c:9962", certificates("login1.example"), str(folder / "none/x.sock"))
    with pytest.raises(ListenError, match=r"cannot listen on unix:.*none/x.sock: No such file or directory"):
        relay.start()
    relay.stop()
