"""`wattshed work`: what a job's own server did is told to the agent, all of it and once."""

from pathlib import Path

import pytest

from tests.wire.servers import serving
from wattshed.agent.__main__ import main
from wattshed.agent.commands.work import Telling
from wattshed.agent.wire import agent_socket
from wattshed.agent.wire.http import Address
from wattshed.agent.work_units.servers import WorkServer

PAGES = Path(__file__).parents[1] / "work_units/pages"


def page(name):
    return 200, {}, (PAGES / name).read_bytes()


@pytest.fixture
def told(monkeypatch):
    """What the agent was told; where ``answers`` has any, they are its answers, or what keeps it from answering."""

    class Told:
        messages, answers = [], []

    def ask(path, message):
        assert path == "/agent.sock"
        answer = Told.answers.pop(0) if Told.answers else {"ok": True}
        if isinstance(answer, Exception):
            raise answer
        if "ok" in answer:
            Told.messages.append((message["unit"], message["count"]))
        return answer

    monkeypatch.setattr(agent_socket, "ask", ask)
    Told.messages.clear()
    return Told


def telling(url, said, **about):
    return Telling(WorkServer(Address.parse(url, "--scrape", "http://x"), **about), "/agent.sock", said.append)


def test_differences_are_told_also_what_could_not_be_told_at_first(told):
    said = []
    absent = agent_socket.AgentAbsentError("no agent of wattshed runs here")
    with serving() as server:
        server.script[:] = [page("vllm-0.33-a.prom"), page("vllm-0.33-b.prom"), page("vllm-0.33-restarted.prom")]
        one = telling(server.url, said, kind="vllm")
        one.once()
        assert told.messages == []
        told.answers[:] = [absent]
        one.once()
        assert told.messages == []
        one.once()
    wanted = {
        "prompt_tokens": 1524,
        "cached_tokens": 480,
        "prefill_tokens": 1044,
        "output_tokens": 1114,
        "requests": 12,
    }
    assert dict(told.messages) == wanted
    assert said == ["no agent of wattshed runs here"]


def test_trouble_is_said_once_and_work_that_is_refused_is_kept(told):
    said = []
    with serving() as server:
        server.script[:] = [page("tgi-3.prom"), (503, {}, b""), (503, {}, b""), page("tgi-3.prom")]
        one = telling(server.url, said, kind="tgi")
        for _ in range(3):
            one.once()
        assert said == [f"{server.url}: answered 503; its work is not counted"]
        text = (PAGES / "tgi-3.prom").read_text().replace("_sum 3377", "_sum 3400")
        server.script[:] = [(200, {}, text.encode())]
        told.answers[:] = [{"error": "one unit too many"}]
        one.once()
        assert said[-1] == "the agent refuses output_tokens: one unit too many"
        server.script[:] = [(200, {}, text.encode())]
        one.once()
    assert told.messages == [("output_tokens", 23)]


@pytest.mark.parametrize(
    "flags",
    [
        ["--scrape", "ftp://x"],
        ["--scrape", "http://x", "--kind", "ollama"],
        ["--scrape", "http://x", "--interval", "0"],
    ],
)
def test_a_flag_that_cannot_be_is_one_line(flags, capsys):
    assert main(["work", *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1
