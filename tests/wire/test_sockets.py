"""Where agents listen on their own host, in which order a command looks, and whom it believes."""

import os
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from wattshed.agent.wire import agents
from wattshed.agent.wire.agents import DEFAULT, find_agent
from wattshed.agent.wire.sockets import answering, candidates, made, own_folders, telling_all

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


@contextmanager
def listening(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        one.listen()
        yield path


def test_ones_own_agent_goes_first_then_the_collector_then_the_agent_of_the_host():
    assert [str(path) for path in candidates({"XDG_RUNTIME_DIR": "/run/user/7"}, 7)] == [
        "/run/user/7/wattshed/api.sock",
        "/tmp/wattshed-7/api.sock",
        "/run/wattshed-collect/collect.sock",
        "/run/wattshed/collect.sock",
        "/run/wattshed/api.sock",
    ]


def test_where_the_variable_is_not_set_its_usual_value_is_tried():
    assert own_folders({}, 7) == (Path("/run/user/7/wattshed"), Path("/tmp/wattshed-7"))
    assert own_folders({"XDG_RUNTIME_DIR": "not/absolute"}, 7) == own_folders({}, 7)
    assert own_folders({"XDG_RUNTIME_DIR": "/x"}, 7)[0] == Path("/x/wattshed")


def test_a_folder_is_made_for_oneself_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        assert made(tmp_path / "own") == ""
        os.umask(0o077)
        assert made(tmp_path / "shared", mode=0o755) == ""
    finally:
        os.umask(before)
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755
    assert made(tmp_path / "own") == "", "the next start finds it"


def test_what_others_could_have_put_there_is_not_used(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    for name in ("theirs", "link", "file"):
        assert "others can write to it" in made(tmp_path / name)
    assert made(tmp_path / "no/folder") == "No such file or directory"


@root_only
def test_nothing_is_made_in_somebody_elses_folder(tmp_path):
    os.chown(tmp_path, 12345, -1)
    assert made(tmp_path / "wattshed") == f"{tmp_path} is not yours"
    assert not (tmp_path / "wattshed").exists()


def test_sockets_at_which_nobody_listens_are_passed_over_and_named(tmp_path):
    left, none, live = (tmp_path / name / "api.sock" for name in ("left", "none", "live"))
    left.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(left))
    with listening(live):
        assert answering([left, none, live]) == ([live], [str(left), str(none)])
        assert telling_all([left, live]) == ([live], [str(left)])


def test_a_socket_in_a_folder_that_others_can_write_to_is_not_asked(tmp_path):
    with listening(tmp_path / "open/api.sock") as path:
        path.parent.chmod(0o777)
        found, (missed,) = answering([path])
        assert found == []
        assert missed == f"{path} (not asked: neither root nor you own its folder)"


@root_only
def test_a_folder_of_somebody_else_is_believed_only_where_root_alone_can_have_made_it(tmp_path):
    """As /run/wattshed is, which systemd makes for the service's own user, and nothing in /tmp can be."""
    with ExitStack() as stack:
        for around, mode, believed in (("run", 0o755, True), ("tmp", 0o1777, False), ("theirs", 0o755, False)):
            (tmp_path / around).mkdir()
            path = stack.enter_context(listening(tmp_path / around / "wattshed/api.sock"))
            os.chown(path.parent, 12345, -1)
            (tmp_path / around).chmod(mode)
            if around == "theirs":
                os.chown(tmp_path / around, 12345, -1)
            assert bool(answering([path])[0]) == believed, around


def test_the_live_view_asks_ones_own_agent_else_the_usual_address(tmp_path, monkeypatch):
    # What may listen on this machine is none of this test's.
    own = tmp_path / "api.sock"
    monkeypatch.setattr(agents, "agent_sockets", lambda environ, uid: (own,))
    agent, missed = find_agent("")
    assert (agent.address.url, missed) == (DEFAULT, str(own))
    with listening(own):
        agent, missed = find_agent("")
        assert (agent.address.url, missed) == (f"unix:{own}", "")
        assert find_agent("http://n1:9961")[0].address.url == "http://n1:9961"
        monkeypatch.setattr(os, "geteuid", lambda: 4_000_123)
        assert find_agent("")[0].address.url == DEFAULT, "at its socket another user's tells jobs alone"
