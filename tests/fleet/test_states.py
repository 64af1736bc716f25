"""States of hosts: what Slurm prints in its versions, tables, BMCs, and what cannot be read."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.fleet.example_fleet import FLEET
from tests.wire.servers import running
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.states import HostIndex, HostState, class_of, host_names, nodes_of, read_states

STATES_OF_SLURM = [
    (["ALLOCATED"], "busy"),
    (["MIXED", "DRAIN"], "busy"),  # draining: its jobs go on
    (["IDLE", "COMPLETING"], "busy"),
    (["ALLOCATED", "FAIL"], "busy"),
    (["IDLE", "FAIL"], "down"),
    (["IDLE"], "idle"),
    (["IDLE", "PLANNED"], "idle"),
    (["IDLE", "RESERVED", "MAINTENANCE"], "idle"),
    (["IDLE", "DRAIN"], "drained"),
    (["IDLE", "CLOUD", "POWERED_DOWN"], "off"),
    (["FUTURE"], "off"),
    (["DOWN", "DRAIN"], "down"),
    (["ALLOCATED", "NOT_RESPONDING"], "down"),
    (["IDLE", "CLOUD", "POWERING_UP"], "down"),
    (["UNKNOWN"], "unknown"),
    (["SOMETHING_NEW"], "unknown"),
]


@pytest.mark.parametrize(("words", "state"), STATES_OF_SLURM)
def test_classes_of_slurms_states(words, state):
    """As a list (23.02 on), as a word with flags (22.05), and as the text of every version has them."""
    base, *flags = words
    forms = [
        json.dumps({"nodes": [{"name": "n1", "state": words}], "errors": []}),
        json.dumps({"nodes": [{"name": "n1", "state": base.lower(), "state_flags": flags}]}),
        json.dumps({"sinfo": [{"node": {"state": words}, "nodes": {"nodes": ["n1"], "total": 1}}]}),
        f"NodeName=n1 Arch=x86_64\n   NodeHostName=n1 State={'+'.join(words)} ThreadsPerCore=1\n   Reason=x\n",
    ]
    assert [nodes_of(form, "slurm") for form in forms] == [{"n1": HostState(state)}] * 4


@pytest.mark.parametrize(
    ("word", "state"),
    [("idle~", "off"), ("mix*", "down"), ("drng", "busy"), ("drain", "drained"), ("resv", "idle"), ("alloc#", "down")],
)
def test_words_of_sinfo(word, state):
    assert class_of([word]) == state


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"nodes": [], "errors": [{"description": "Unable to contact slurm controller"}]}', "Unable to contact"),
        ('{"nodes": []}', "holds no node"),
        ('{"nodes": [{"name": "n1"}]}', "no list of nodes with their names and states"),
        ('{"nodes": 3}', "no list of nodes"),
        ("{", "is not JSON"),
        ("host,state\na,idle\na,idle\n", "S:3:1: host: 'a' appears twice"),
        ("host,state\na,iddle\n", "S:2:2: state: 'iddle' is no state; did you mean idle?"),
        ("host,state,watts\na,idle,3\n", "S:1:3: column 'watts' is not used here"),
        ("host,state,node_w\na,down,-1\n", "S:2:3"),
    ],
)
def test_what_is_no_list_of_states(files, text, said):
    path = files(S=text)
    with pytest.raises(InputError) as error:
        read_states(str(path))
    assert said in str(error.value)


def test_a_table_of_states(files):
    found = read_states(str(files(s_csv="host,state,stratum,node_w\na,down,train,310\nb,IDLE+DRAIN,,\n")))
    assert found == {"a": HostState("down", "train", node_w=310.0), "b": HostState("drained")}


def test_hosts_have_several_names():
    assert host_names("n1.site.example:9961") == ("n1.site.example:9961", "n1.site.example", "n1")
    assert host_names("10.0.0.1:9961") == ("10.0.0.1:9961", "10.0.0.1")
    assert host_names("[fe80::1]:9961") == ("[fe80::1]:9961", "fe80::1")
    index = HostIndex(["n1", "n2.a", "n2.b"])
    assert index.find("n1.site:9961") == "n1"
    assert index.find("n2") is None  # of two sites
    assert index.find("n2.b:1") == "n2.b"


def states(files, text, **more):
    return read_inventory(files(FLEET_toml=f"{FLEET}\n[states]\n{text}\n", **more)).states


def test_the_command_of_a_scheduler(files):
    path = files(nodes_txt="NodeName=n1 State=IDLE\n")
    assert states(files, f'command = "cat {path}"').hosts() == ({"n1": HostState("idle")}, ())
    for command, said in (
        ("false", "false fails (exit code 1)"),
        ("no-such-command-here --json", "cannot be run (No such file or directory)"),
        ("echo {", "what echo { prints is not JSON"),
    ):
        found, (warning,) = states(files, f'command = "{command}"').hosts()
        assert found == {}
        assert said in warning
    slow = states(files, 'command = "sleep 5"\ntimeout_s = 0.1')
    assert "does not end within 0.1 s" in slow.hosts()[1][0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timeout_s = 3", "states: needs one of command"),
        ('command = "a"\nfile = "b"', "states: needs one of command"),
        ('comand = "a"', "states.comand: unknown key; did you mean states.command?"),
        ('file = "s"\n[states.bmc]\nsystem = "host"', "states.bmc.system: it takes a URL such as"),
        ('file = "s"\n[states.bmc]\nsystem = "http://{host}"\nlogin = "me"', "login and password_file go together"),
    ],
)
def test_wrong_sources_of_states(files, text, said):
    with pytest.raises(InputError) as error:
        states(files, text)
    assert said in str(error.value)


def test_bmcs_are_asked_by_redfish(files):
    """PowerState of the system, and the watts of either resource that has them."""
    answers = {
        "/off/system": {"PowerState": "Off"},
        "/on/system": {"PowerState": "On"},
        "/on/power": {"PowerControl": [{"PowerConsumedWatts": 412}]},
        "/new/system": {"PowerState": "On"},
        "/new/power": {"PowerWatts": {"Reading": 99.5}},
        "/starting/system": {"PowerState": "PoweringOn"},
        "/silent/system": {},
    }

    class Bmc(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers.get("Authorization"))
            body = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    seen = []
    password = files(secret="hunter2\n")
    password.chmod(0o600)
    with running(ThreadingHTTPServer(("127.0.0.1", 0), Bmc)) as httpd:
        base = f"http://127.0.0.1:{httpd.server_port}/{{host}}"
        text = f'system = "{base}/system"\npower = "{base}/power"\nlogin = "me"\npassword_file = "secret"'
        sources = states(files, f'file = "none"\n[states.bmc]\n{text}')
        asked = {name: HostState("down") for name in ("off.dc:9961", "on", "new", "starting", "silent")}
        found, (warning,) = sources.asked_of_bmcs(asked)
    assert found == {
        "off.dc:9961": HostState("off", on=False),
        "on": HostState("down", on=True, node_w=412.0),
        "new": HostState("down", on=True, node_w=99.5),
        "starting": HostState("down"),
        "silent": HostState("down"),
    }
    assert warning == "1 of 5 BMCs asked did not answer (such as that of 'silent')"
    assert set(seen) == {"Basic bWU6aHVudGVyMg=="}
