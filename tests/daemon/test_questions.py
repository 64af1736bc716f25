"""Where jobs are told, and who administrators are."""

import dataclasses
import grp
import os

import pytest

from wattshed.agent.config import Config, HistorySettings
from wattshed.agent.daemon.questions import jobs_api, jobs_socket
from wattshed.agent.errors import InputError
from wattshed.exporters.web.jobs_api import Asker
from wattshed.exporters.web.peer import Caller


def test_the_socket_is_where_systemd_says_or_where_there_is_a_folder_for_it(tmp_path):
    auto, folder = HistorySettings(), tmp_path / "run"
    assert jobs_socket(auto, {"RUNTIME_DIRECTORY": "/run/wattshed:/run/x"}) == "/run/wattshed/api.sock"
    assert jobs_socket(auto, {}, str(folder)) == ""  # run by somebody who has no such folder: not a fault
    folder.mkdir()
    assert jobs_socket(auto, {}, str(folder)) == f"{folder}/api.sock"
    assert jobs_socket(HistorySettings(socket="/x/y.sock"), {"RUNTIME_DIRECTORY": "/run/z"}) == "/x/y.sock"
    assert jobs_socket(HistorySettings(socket=""), {"RUNTIME_DIRECTORY": "/run/z"}) == ""
    assert jobs_socket(HistorySettings(enabled=False), {"RUNTIME_DIRECTORY": "/run/z"}) == ""


def config(**history):
    return dataclasses.replace(Config(), history=HistorySettings(**history))


def test_who_administrators_are(caplog):
    group = grp.getgrgid(os.getgid())
    mine = Asker(Caller(12345, frozenset({group.gr_gid})))
    assert jobs_api(config(admin_group=group.gr_name)).sees_all(mine)
    assert jobs_api(config(admin_group=str(group.gr_gid))).sees_all(mine)
    assert not jobs_api(config()).sees_all(mine)
    assert jobs_api(config()).sees_all(Asker(Caller(os.geteuid())))
    nobodys = jobs_api(config(admin_group="no-such-group-here"))
    assert not nobodys.sees_all(mine)
    assert "there is no group 'no-such-group-here'" in caplog.text
    tcp = jobs_api(config(tcp_users=("boss",)))
    assert tcp.sees_all(Asker(None, frozenset({"boss"}), known=True))
    assert not tcp.sees_all(Asker(None, frozenset({"boss"})))
    assert not tcp.sees_all(Asker(None, frozenset({"other"}), known=True))


def test_a_socket_must_be_a_path(tmp_path):
    from wattshed.agent.config import load

    path = tmp_path / "c.toml"
    path.write_text('state_dir = "/x"\ncache_dir = "/x"\n[history]\nsocket = "api.sock"\n')
    with pytest.raises(InputError, match=r"c.toml:4:\d+: .*'api.sock' is neither an absolute path nor auto"):
        load(path, {})
