"""The live screen, driven by textual's pilot beside a real server."""

import argparse
import asyncio
import threading

import bcrypt
import pytest
import trustme

from tests.terminal.made import answer, node
from wattshed.agent.commands import top as command
from wattshed.agent.terminal.choices import GPUS, HELP, JOBS, Choices
from wattshed.agent.terminal.following import fetch
from wattshed.agent.wire.agents import DocumentServer

pytest.importorskip("textual")


def text_of(top):
    """What is on the screen, line by line."""
    return ["".join(segment.text for segment in strip) for strip in top.screen._compositor.render_strips()]


async def until(pilot, true):
    for _ in range(200):
        await pilot.pause(0.05)
        if true():
            return
    raise AssertionError(text_of(pilot.app))


def test_a_screen_fills_sorts_filters_opens_pages_and_says_that_the_agent_is_gone(serve):
    from wattshed.agent.terminal.screen import Top

    server, _ = serve()
    agent = DocumentServer.of(server.addresses[0])

    async def look():
        top = Top(lambda: fetch(agent), Choices(interval_s=0.2))
        async with top.run_test(size=(140, 40)) as pilot:
            await until(pilot, lambda: any("train-7b" in line for line in text_of(top)))
            await pilot.press("n")
            assert top.choices.sort == "name"
            await pilot.press("n")
            assert top.choices.reverse
            await pilot.press("slash", *"ada")
            assert top.choices.needle == "ada"
            assert not any("notebook" in line.split("│")[0] and "bob" in line for line in text_of(top))
            await pilot.press("enter", "enter")
            assert top.choices.page == (JOBS, "slurm:1234")
            assert any("GPU time" in line for line in text_of(top))
            await pilot.press("escape", "escape")
            assert (top.choices.page, top.choices.needle) == (None, "")
            await pilot.press("tab", "down", "enter")
            assert top.choices.page[0] == GPUS
            await pilot.press("escape", "question_mark")
            assert top.choices.page == (HELP, "")
            await pilot.press("escape")
            server.stop()
            await until(pilot, lambda: any("NO DATA since" in line for line in text_of(top)))
            assert any("train-7b" in line for line in text_of(top))  # what is old stays, and is grey
            await pilot.press("q")

    asyncio.run(look())


def test_keys_work_while_an_answer_is_awaited():
    from wattshed.agent.terminal.screen import Top

    waiting = threading.Event()

    def slow():
        waiting.wait(20)
        return answer(node())

    async def look():
        top = Top(slow, Choices(interval_s=0.2), answer(node()))
        async with top.run_test(size=(80, 24)) as pilot:
            await pilot.press("n", "w", "plus", "question_mark", "escape")
            assert (top.choices.sort, top.choices.span_s, top.choices.interval_s) == ("name", 3600.0, 0.5)
            assert not waiting.is_set()
            waiting.set()

    asyncio.run(look())


def test_any_size_is_taken_while_it_runs():
    from wattshed.agent.terminal.screen import Top

    async def look():
        document = answer(node(16, 60))
        top = Top(lambda: document, Choices(), document)
        async with top.run_test(size=(80, 24)) as pilot:
            for size in ((40, 10), (250, 70), (60, 15), (160, 50)):
                await pilot.resize_terminal(*size)
                await until(pilot, lambda: top.size == size and "Quit" in text_of(top)[-1])  # noqa: B023 - run at once
                lines = text_of(top)
                assert (len(lines), len(lines[0])) == (size[1], size[0])
                assert any("WATTS" in line for line in lines)

    asyncio.run(look())


def test_over_tls_and_with_a_password(serve, tmp_path, capsys):
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = ca.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yml"
    web.write_text(
        f"tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  ada: {hashed}\n"
    )
    password = tmp_path / "password"
    password.write_text("right\n")
    password.chmod(0o600)
    _, port = serve(web_config=str(web))
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = ["top", "--once", "--url", f"https://127.0.0.1:{port}", "--ca-file", str(tmp_path / "ca.pem")]
    args = parser.parse_args([*words, "--login", "ada", "--password-file", str(password)])
    assert args.run(args) == 0
    assert "train-7b" in capsys.readouterr().out
    args = parser.parse_args(words)
    assert args.run(args) == 1
    assert "it wants a user" in capsys.readouterr().err
