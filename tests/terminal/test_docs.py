"""docs/top.md names every key, in the words of the help."""

from pathlib import Path

from wattshed.agent.terminal.keys import KEYS, help_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "top.md"


def test_the_page_has_the_keys_that_there_are():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{key.shown}` | {key.text} |" for key in KEYS]


def test_the_help_has_them_too():
    text = "\n".join(line.text for line in help_page(200))
    assert all(key.text in text for key in KEYS)
