"""Names of nodes as Slurm writes them, and which of them this host is."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.jobs.nodes import expand, named, on_host, place, same
from wattshed.agent.jobs.this_node import ThisNode, UnknownNodeError, look


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3,05],gpu7", ["n1", "n2", "n3", "n05", "gpu7"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("r[0-1]n[0-2]", ["r0n0", "r0n1", "r0n2", "r1n0", "r1n1", "r1n2"]),
        ("rack[1-2]-ib.hpc.example", ["rack1-ib.hpc.example", "rack2-ib.hpc.example"]),
        ("gpu-b[3],a", ["gpu-b3", "a"]),
        ("", []),
        ("n[1-", []),
        ("n[x]", []),
        ("n[1-999999999]", []),
    ],
)
def test_host_lists(text, names):
    assert expand(text) == names


@given(st.text(alphabet="an-,[]0123456789", max_size=40))
def test_any_text_is_read(text):
    assert len(expand(text)) < 1 << 17


@given(st.lists(st.integers(0, 99_999), min_size=1, max_size=30, unique=True), st.integers(1, 5))
def test_a_written_list_reads_back(numbers, width):
    names = [f"n{str(number).zfill(width)}" for number in numbers]
    assert expand("n[" + ",".join(name[1:] for name in names) + "]") == names


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("n1", "n1", True),
        ("N1", "n1", True),
        ("n1.hpc.example", "n1", True),
        ("n1", "N1.hpc.example", True),
        ("n1.a.example", "n1.b.example", False),
        ("n1", "n10", False),
        ("n1", "n01", False),
        ("", "", False),
        (".x", "", False),
    ],
)
def test_names_of_one_node(one, other, alike):
    assert same(one, other) is alike
    assert same(other, one) is alike


def test_the_place_of_a_node():
    assert place("n2", ["n1", "n2", "n3"]) == 1
    assert place("n2", ["n1", "n2.a", "n2"]) == 2
    assert place("n2", ["n1", "n2.a", "n2.b"]) is None
    assert place("n2", ["n1"]) is None


SHOWN = """\
NodeName=na Arch=x86_64 Gres=gpu:h100:2(S:0),shard:h100:16(S:0) NodeAddr=10.0.0.1 NodeHostName=box1 Port=6818
NodeName=nb Arch=x86_64 Gres=gpu:h100:4 NodeAddr=10.0.0.2 NodeHostName=box2 Port=6818
NodeName=nc Arch=x86_64 Gres=gpu:h100:4 NodeAddr=10.0.0.3 NodeHostName=box3 Port=6818
NodeName=nd Arch=x86_64 Gres=gpu:h100:4 NodeAddr=10.0.0.3 NodeHostName=box3 Port=6819
"""


def test_nodes_of_a_host():
    assert named(SHOWN, "NA") == "na"
    assert named(SHOWN, "box1") == ""
    assert on_host(SHOWN, "box1.hpc.example") == on_host(SHOWN, "10.0.0.1") == {"na"}
    assert on_host(SHOWN, "box3") == {"nc", "nd"}


def scontrol(folder, private="none", broken=""):
    """As the real one: a node that it does not know is told on standard output, and ends with 1."""
    (folder / "nodes").write_text(SHOWN)
    path = folder / "scontrol"
    path.write_text(f"""#!/bin/sh
{broken}
case "$*" in
    "show config") echo "PrivateData             = {private}" ;;
    "-o show node") cat {folder}/nodes ;;
    "-o show node "*) grep "^NodeName=$4 " {folder}/nodes || {{ echo "Node $4 not found"; exit 1; }} ;;
    *) echo "unknown: $*" >&2; exit 1 ;;
esac
""")
    path.chmod(0o755)
    return (str(path),)


@pytest.mark.parametrize("host", ["na", "na.hpc.example", "box1", "box1.hpc.example", "10.0.0.1"])
def test_slurm_tells_the_nodes_name(tmp_path, host):
    found = look(scontrol(tmp_path), host, threading.Event())
    assert found == ThisNode("na", True, {"shard": 8, "shard:h100": 8}, 2, True)


@pytest.mark.parametrize(
    ("host", "words"), [("box3", "several nodes on this host (nc, nd)"), ("n9", "no node of this")]
)
def test_a_node_that_slurm_does_not_list_is_none(tmp_path, host, words):
    with pytest.raises(UnknownNodeError, match=r"set slurm\.node") as told:
        look(scontrol(tmp_path), host, threading.Event())
    assert words in str(told.value)


@pytest.mark.parametrize(("private", "visible"), [("none", True), ("accounts,usage", True), ("accounts,jobs", False)])
def test_whether_jobs_are_hidden(tmp_path, private, visible):
    assert look(scontrol(tmp_path, private), "na", threading.Event()).open is visible


def test_a_controller_that_does_not_answer_is_no_missing_node(tmp_path):
    broken = 'echo "slurm_load_node error: Unable to contact slurm controller" >&2; exit 1'
    with pytest.raises(Exception, match="Unable to contact"):
        look(scontrol(tmp_path, broken=broken), "na", threading.Event())
