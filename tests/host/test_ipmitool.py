"""Debian's ipmitool reads the same watts from an answer's bytes, over its dummy interface: a socket for a BMC."""

import os
import re
import shutil
import socket
import struct
import subprocess
import threading

import pytest

from wattshed.agent.host.ipmi import NoPowerError, decoded


@pytest.fixture(scope="module")
def ipmitool():
    found = shutil.which("ipmitool")
    if not found and os.environ.get("CI_REAL"):
        pytest.fail("ipmitool is not installed")
    return found or pytest.skip("ipmitool is not installed")


REQUEST, ANSWER = struct.Struct("@BBBBHP"), struct.Struct("@BBBBBiP")
"""As its src/plugins/dummy/dummy.h has them: network function, LUN, command ..., length, and a pointer of no use."""
GET_POWER = (0x2C, 0x02)


def told(ipmitool, folder, answer):
    """What ipmitool prints where the BMC answers this to DCMI's "Get Power Reading", and all requests of that kind."""
    path, asked = str(folder / "socket"), []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen(1)
        server.settimeout(20)

        def serve():
            connection, _ = server.accept()
            with connection:
                while len(head := connection.recv(REQUEST.size, socket.MSG_WAITALL)) == REQUEST.size:
                    netfn, _, command, _, length, _ = REQUEST.unpack(head)
                    content = connection.recv(length, socket.MSG_WAITALL) if length else b""
                    if netfn == 0x3F:
                        return  # it says good bye
                    known = (netfn, command) == GET_POWER
                    if known:
                        asked.append(content)
                    reply = answer if known else b"\xc1"
                    connection.sendall(ANSWER.pack(netfn + 1, command, 0, 0, reply[0], len(reply) - 1, 0) + reply[1:])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        done = subprocess.run(
            [ipmitool, "-I", "dummy", "dcmi", "power", "reading"],
            env=os.environ | {"IPMI_DUMMY_SOCK": path},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        thread.join(20)
    return done.stdout + done.stderr, asked


def answer(watts, state):
    return struct.pack("<BBHHHHIIB", 0, 0xDC, watts, watts // 2, 2 * watts % 65536, watts, 1_700_000_000, 1000, state)


@pytest.mark.real
@pytest.mark.parametrize("watts", [1, 258, 2578, 65_534])
def test_it_reads_the_same_watts_and_asks_the_same(ipmitool, tmp_path, watts):
    said, asked = told(ipmitool, tmp_path, answer(watts, 0x40))
    assert (
        int(re.search(r"Instantaneous power reading:\s+(\d+) Watts", said)[1]) * 1000
        == decoded(answer(watts, 0x40)).power_mw
    )
    assert re.search(r"Power reading state is:\s+activated", said)
    assert asked == [b"\xdc\x01\x00\x00"]


@pytest.mark.real
def test_it_says_deactivated_where_we_have_no_reading(ipmitool, tmp_path):
    said, _ = told(ipmitool, tmp_path, answer(0, 0))
    assert re.search(r"Power reading state is:\s+deactivated", said)
    with pytest.raises(NoPowerError, match="deactivated"):
        decoded(answer(0, 0))
