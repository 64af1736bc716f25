"""Whom a collector asks: its file of settings, and lists of targets that are read again and again."""

import json
import re
from pathlib import Path

import pytest
import trustme

from wattshed.agent.collect import config
from wattshed.agent.collect.config import CollectSettings, TargetGroup, read_settings
from wattshed.agent.collect.targets import Targets
from wattshed.agent.errors import Faults, InputError

LEAST = 'database = "history.db"\n[[targets]]\nurls = ["http://n1:9961"]\n'


def written(tmp_path, text, name="collect.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_least_that_is_needed(tmp_path):
    found = read_settings(written(tmp_path, LEAST))
    assert found == CollectSettings(str(tmp_path / "history.db"), (TargetGroup(("http://n1:9961",)),))
    assert str(tmp_path) not in repr(found)  # a URL of a database may hold a password


def test_all_of_it(tmp_path):
    secret = written(tmp_path, "hunter2\n", "password")
    secret.chmod(0o600)
    text = f"""
        database = "postgresql://wattshed:pw@db/wattshed"
        poll_s = 30
        timeout_s = 5
        concurrency = 8
        max_age_days = 100
        listen = [":9962"]
        web_config_file = "web.yml"
        socket = ""
        admin_group = "hpc"
        tcp_users = ["grafana"]
        relays = ["login1"]
        [privacy]
        users = "pseudonyms"
        key_file = "key"
        [slurm]
        write_back = true
        [[targets]]
        file_sd = ["sd/*.yml"]
        http_sd = ["https://sd/targets"]
        scheme = "https"
        cluster = "east"
        login = "collector"
        password_file = "{secret}"
    """
    found = read_settings(written(tmp_path, text))
    (group,) = found.targets
    assert group.file_sd == (str(tmp_path / "sd/*.yml"),)
    assert (group.credentials.login, group.credentials.password) == ("collector", "hunter2")
    assert (found.socket, found.write_back, found.key_file) == ("", True, str(tmp_path / "key"))
    assert found.web_config_file == str(tmp_path / "web.yml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "collect.toml:1:1: needs database, a string"),
        ('database = "x"', r"needs a \[\[targets\]\]"),
        (LEAST.replace("urls", "url"), "collect.toml:3:1: targets.url: unknown key; did you mean targets.urls?"),
        (
            LEAST.replace("history.db", "mysql://u:secret@h/d"),
            "collect.toml:1:1: database: .* mysql:// is not supported",
        ),
        (LEAST.replace("http://n1", "n1"), "collect.toml:3:9: targets.urls: .*does not start with http"),
        ("poll_s = 0\n" + LEAST, "poll_s: must be from 1 to 3600, not 0"),
        ('database = "x"\n[[targets]]\ncluster = "east"\n', "needs urls, file_sd, http_sd or dns"),
        (LEAST + 'login = "x"\n', "login and password_file go together"),
        (LEAST + 'key_file = "x"\n', "key_file goes with cert_file"),
        (LEAST + 'ca_file = "nothing"\n', "nothing: cannot be read"),
        ('[privacy]\nusers = "pseudonyms"\n[[targets]]\nurls = ["http://n1"]\n', "needs key_file"),
    ],
)
def test_what_is_wrong_has_its_place(tmp_path, text, why):
    with pytest.raises(InputError, match=why) as told:
        read_settings(written(tmp_path, text if "privacy" not in text else 'database = "x"\n' + text))
    assert "secret" not in str(told.value)


def addresses(targets):
    return [(one.address, one.cluster) for one in targets.now()]


def test_lists_in_files_are_read_again_and_the_last_good_one_stays(tmp_path):
    faults = Faults()
    path = written(
        tmp_path, '- targets: ["node001:9961", "node002:9961"]\n  labels: {cluster: c1, site: hall-a}\n', "a.yml"
    )
    group = TargetGroup(file_sd=(str(tmp_path / "*.yml"),), cluster="none", scheme="https")
    targets = Targets([TargetGroup(("https://node001:9961",), cluster="named"), group], faults, 1)
    assert addresses(targets) == [("https://node001:9961", "named"), ("https://node002:9961", "c1")]
    for broken in (
        "[",
        "targets: x",
        "- targets: x",
        "- {targets: [7]}",
        '- {targets: ["ä b"]}',
        "- {targets: [a], labels: 7}",
    ):
        before = faults.counts["targets"]
        path.write_text(broken)
        assert len(targets.now()) == 2
        assert faults.counts["targets"] == before + 1
    path.write_text("[]")
    assert len(targets.now()) == 1
    path.write_text(json.dumps([{"targets": ["x:1"], "labels": {"__scheme__": "http"}}]))
    assert addresses(targets)[1:] == [("http://x:1", "none")]
    path.unlink()
    assert len(targets.now()) == 1


def test_a_list_from_a_server(tmp_path):
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    said = [200, json.dumps([{"targets": ["node003:9961"], "labels": {"cluster": "c1"}}])]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(said[0])
            self.end_headers()
            self.wfile.write(said[1].encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://user:pass@127.0.0.1:{server.server_port}/sd"
    faults = Faults()
    targets = Targets([TargetGroup(http_sd=(url,))], faults, 2)
    try:
        assert addresses(targets) == [("http://node003:9961", "c1")]
        for wrong in ([500, "[]"], [200, "no JSON"], [200, "{}"]):
            said[:] = wrong
            assert addresses(targets) == [("http://node003:9961", "c1")]
    finally:
        server.shutdown()
        server.server_close()
    assert len(targets.now()) == 1  # it does not answer any more
    assert faults.counts["targets"] == 4


def test_all_addresses_of_a_name(monkeypatch):
    known = {"agents": ["10.0.0.2", "10.0.0.1", "fd00::1"]}

    def getaddrinfo(host, port, **_):
        if host not in known:
            raise OSError("Name or service not known")
        return [(0, 0, 0, "", (one, port)) for one in known[host]]

    monkeypatch.setattr("wattshed.agent.collect.targets.socket.getaddrinfo", getaddrinfo)
    faults = Faults()
    targets = Targets([TargetGroup(dns=("agents:9961",), cluster="c1")], faults, 1)
    found = [(f"http://{one}:9961", "c1") for one in ("10.0.0.1", "10.0.0.2", "[fd00::1]")]
    assert addresses(targets) == found
    del known["agents"]
    assert addresses(targets) == found
    assert faults.counts["targets"] == 1


def test_a_database_whose_url_is_a_secret(tmp_path):
    secret = written(tmp_path, "postgresql://wattshed:hunter2@db/wattshed\n", "url")
    secret.chmod(0o600)
    text = LEAST.replace('database = "history.db"', 'database_file = "url"')
    assert read_settings(written(tmp_path, text)).database == "postgresql://wattshed:hunter2@db/wattshed"
    secret.chmod(0o644)
    with pytest.raises(InputError, match="can be read by others"):
        read_settings(written(tmp_path, text))


def test_the_settings_of_the_documentation(tmp_path):
    """What docs/collect.md shows is taken as it is, and it names every key there is."""
    page = (Path(__file__).parents[2] / "docs/collect.md").read_text()
    shown = page.partition("```toml\n")[2].partition("```")[0]
    written(tmp_path, "hunter2\n", "password").chmod(0o600)
    trustme.CA().cert_pem.write_to_path(tmp_path / "site-ca.pem")
    found = read_settings(written(tmp_path, shown))
    assert (found.database, found.poll_s) == ("/var/lib/wattshed-collect/site.db", 60)
    assert [(len(one.urls), one.cluster, one.scheme) for one in found.targets] == [
        (2, "east", "http"),
        (0, "", "https"),
    ]
    for key in (*config.SETTINGS, *config.TARGETS):
        assert f"`{key}`" in page or f"[{key}]" in page, key


def test_what_is_not_said_is_as_the_documentation_says():
    page = (Path(__file__).parents[2] / "docs/collect.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    told = {
        name: default.strip().strip("`")
        for names, defaults in rows
        for name, default in zip(re.findall(r"`([a-z_]+)`", names), defaults.split(","), strict=False)
    }
    usual = CollectSettings("", ())
    for name in ("poll_s", "timeout_s", "concurrency", "max_age_days"):
        assert float(told[name]) == getattr(usual, name), name
    assert (told["listen"], told["socket"]) == (usual.listen[0], usual.socket)
    assert (told["users"], told["write_back"]) == (usual.users, str(usual.write_back).lower())
    for name in ("web_config_file", "admin_group", "tcp_users", "relays", "key_file", "pods_file"):
        assert told[name] == "none"
        assert not getattr(usual, name), name
    assert "none, 90 |" in page
    assert usual.user_days == 90
