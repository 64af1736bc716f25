"""The live screen, driven by textual's pilot beside a real server."""

import asyncio

import pytest

from wattshed.agent.terminal.arrangement import GPUS, HELP, JOBS, Choices
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
