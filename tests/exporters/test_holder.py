"""Who listens where we wanted to: as much as the kernel tells this user."""

import os
import socket

from wattshed.exporters.web.holder import described, who_has_port, who_listens

PORT = 9961
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(port, state="0A", uid=0, inode=77):
    return (
        f"   0: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {uid}  0 {inode} 1\n"
    )


def proc(tmp_path, lines, *, pid=None, comm="nginx", cmdline=b"nginx: master process\0", inode=77):
    net = tmp_path / "net"
    net.mkdir()
    (net / "tcp").write_text(HEAD + lines)
    if pid is not None:
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd/0").symlink_to("/dev/null")
        (tmp_path / str(pid) / "fd/5").symlink_to(f"socket:[{inode}]")
        (tmp_path / str(pid) / "comm").write_text(f"{comm}\n")
        (tmp_path / str(pid) / "cmdline").write_bytes(cmdline)
    return tmp_path


def test_the_process_whose_socket_it_is_is_named(tmp_path):
    assert who_has_port(PORT, proc(tmp_path, line(80, inode=5) + line(PORT), pid=12)) == "nginx (pid 12)"


def test_an_agent_is_told_by_its_command_line(tmp_path):
    words = b"/usr/bin/python3\0-P\0-m\0wattshed\0run\0"
    found = who_has_port(PORT, proc(tmp_path, line(PORT), pid=12, comm="python3", cmdline=words))
    assert found == "another wattshed (pid 12)"
    (tmp_path / "12/cmdline").write_bytes(b"/srv/.venv/bin/python3\0/srv/.venv/bin/wattshed\0run\0")
    assert described(12, tmp_path) == "another wattshed (pid 12)"


def test_of_another_users_process_its_user_is_told(tmp_path):
    assert who_has_port(PORT, proc(tmp_path, line(PORT, uid=0))) == "another process of user root"
    (tmp_path / "net/tcp").write_text(HEAD + line(PORT, uid=4_000_123))
    assert who_has_port(PORT, tmp_path) == "another process of user 4000123"


def test_a_connection_from_that_port_is_nobody_who_listens(tmp_path):
    assert who_has_port(PORT, proc(tmp_path, line(PORT, state="01"), pid=12)) == "another process"
    assert who_has_port(PORT, tmp_path / "nowhere") == "another process"


def test_what_a_process_calls_itself_stays_one_line(tmp_path):
    assert who_has_port(PORT, proc(tmp_path, line(PORT), pid=12, comm="a\x1b[2J\tb")) == "a[2Jb (pid 12)"


def test_at_a_unix_socket_the_kernel_says_who_listens(tmp_path):
    path = str(tmp_path / "api.sock")
    assert who_listens(path) == ""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
        assert who_listens(path) == "", "nobody listens yet, or any more"
        one.listen(1)
        assert who_listens(path).endswith(f" (pid {os.getpid()})")
