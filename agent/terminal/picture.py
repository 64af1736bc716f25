"""The screen as a picture, of any snapshots and size: for the documents and the tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wattshed.agent.terminal.screen import Top

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.terminal.arrangement import Choices


def svg(
    documents: Sequence[Mapping[str, Any]],
    choices: Choices,
    size: tuple[int, int],
    *,
    light: bool = False,
    keys: Sequence[str] = (),
) -> str:
    """Draw the screen after the last of some snapshots.

    Parameters
    ----------
    documents : sequence of mapping
        Answers of ``/api/v1/snapshot``, in ascending order; of one job power is known at once.
    choices : Choices
    size : (int, int)
        Columns and lines.
    light : bool
        Colours for a light terminal.
    keys : sequence of str
        Pressed before the picture is taken, as textual names them.

    Returns
    -------
    str
        SVG.
    """
    last = documents[-1]
    top = Top(lambda: last, choices, documents[0], light=light, clock=lambda: last["time_s"])
    for document in documents[1:]:
        top.following.take(document, document["time_s"])

    async def taken() -> str:
        async with top.run_test(size=size) as pilot:
            await pilot.pause(0.1)
            for key in keys:
                await pilot.press(key)
            await pilot.pause(0.1)
            return str(top.export_screenshot(title="wattshed top"))

    return asyncio.run(taken())
