"""The colours of `top`: every pair that is drawn can be read by those whose eyesight is weak (WCAG 2.2, 1.4.3)."""

import pytest
from rich.style import Style

from wattshed.agent.terminal.colours import DARK, LIGHT, NO_COLOUR
from wattshed.agent.terminal.drawing import TextLine

LINES = ("", "head", "title", "alert", "simulated")
PIECES = sorted(set(DARK.styles) - set(LINES))


def luminance(colour):
    """Relative luminance of an sRGB colour, as WCAG defines it."""
    channels = (value / 255 for value in colour.get_truecolor())
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(style):
    low, high = sorted((luminance(style.color), luminance(style.bgcolor)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_is_the_standard_one():
    assert contrast(Style.parse("#ffffff on #000000")) == pytest.approx(21.0)
    assert contrast(Style.parse("#777777 on #ffffff")) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("palette", [DARK, LIGHT], ids=["dark", "light"])
def test_every_pair_that_is_drawn_has_a_contrast_of_4_5(palette):
    drawn = {(role, ""): palette.of(TextLine((), role), "") for role in LINES}
    drawn |= {("title", role): palette.of(TextLine((), "title"), role) for role in PIECES}
    for role in ("", *PIECES):
        for chosen in (False, True):
            for old in (False, True):
                drawn["", role, chosen, old] = palette.of(TextLine(()), role, chosen=chosen, old=old)
    low = {which: round(contrast(style), 2) for which, style in drawn.items() if contrast(style) < 4.5}
    assert not low


def test_without_colours_none_is_set():
    assert set(NO_COLOUR.styles) == set(DARK.styles) == set(LIGHT.styles)
    assert all(style.color is None and style.bgcolor is None for style in NO_COLOUR.styles.values())
