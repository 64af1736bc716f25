"""The keys of `wattshed top`: bindings, the line at the bottom, the help page and docs/top.md are made of these."""

from __future__ import annotations

from typing import NamedTuple

from wattshed.agent.terminal.drawing import TextLine, TextPiece
from wattshed.agent.terminal.fitting import Cell, FittedTable, TopColumn


class Key(NamedTuple):
    """Keys that do one thing.

    Attributes
    ----------
    keys : str
        As textual names them, separated by commas.
    shown : str
        As people name them.
    action : str
    label : str
        In the line at the bottom; empty: it is not there.
    text : str
        In the help.
    """

    keys: str
    shown: str
    action: str
    label: str
    text: str


KEYS = (
    Key("q,ctrl+c", "q", "quit", "Quit", "quit"),
    Key("question_mark,h,f1", "? h F1", "help", "Help", "show these keys, or leave them"),
    Key("slash", "/", "filter", "Filter", "show only jobs whose id, name, user or other label has these words"),
    Key("escape", "Esc", "back", "", "go back: close a page, drop the filter"),
    Key("enter", "Enter", "open", "Details", "everything about the chosen job or GPU; a double click does the same"),
    Key("p", "p", "sort('power')", "", "sort jobs by power; again: the other way round"),
    Key("e", "e", "sort('energy')", "", "sort jobs by energy"),
    Key("n", "n", "sort('name')", "", "sort jobs by name"),
    Key("u", "u", "sort('user')", "", "sort jobs by user"),
    Key("g", "g", "sort('gpus')", "", "sort jobs by their number of GPUs"),
    Key("t", "t", "sort('time')", "", "sort jobs by time; a click on a title sorts as well"),
    Key("s", "s", "next_sort", "Sort", "sort by the next of these"),
    Key("up,k", "↑ k", "move(-1)", "", "choose the row above"),
    Key("down,j", "↓ j", "move(1)", "", "choose the row below"),
    Key("pageup", "PgUp", "move_page(-1)", "", "a page up"),
    Key("pagedown", "PgDn", "move_page(1)", "", "a page down"),
    Key("home", "Home", "move(-1000000)", "", "choose the first row"),
    Key("end", "End", "move(1000000)", "", "choose the last row"),
    Key("tab", "Tab", "other", "GPUs/jobs", "go from the jobs to the GPUs, and back"),
    Key("c", "c", "compact", "", "GPUs in short, several in a line, or a row each"),
    Key("w", "w", "span", "", "draw the last 5, 15 or 60 minutes"),
    Key("space", "Space", "pause", "Pause", "stop reading, and go on"),
    Key("plus,equals_sign", "+", "interval(1)", "", "read less often"),
    Key("minus", "-", "interval(-1)", "", "read more often"),
    Key("d", "d", "theme", "", "dark or light"),
)
BACK = Key("escape", "Esc", "back", "Back", "")

_COLUMNS = (TopColumn("KEY", 0, least=8, left=True), TopColumn("WHAT IT DOES", 1, "text", least=10, most=100))
_SIGNS = (
    ("—", "not known; never 0"),
    ("!", "a temperature at which boards lower their clocks"),
    ("?", "in short form: doubtful data; its page says what"),
    ("WATTS", "mean of the last 10 s or so, from energy; jobs, idle and unattributed add up to the GPUs"),
    ("OF LIMIT", "power as a part of the power limit that is enforced"),
    ("DYNAMIC", "the part of a job's energy above the idle power of its GPUs"),
    ("HELD IDLE", "the part of its GPU time that a job held a GPU and did not use it"),
    ("± kWh", "two standard deviations"),
)


def help_page(width: int) -> list[TextLine]:
    """Write the keys, and what the signs mean."""
    lines = []
    for title, rows in (("Keys", [(key.shown, key.text) for key in KEYS]), ("Signs", _SIGNS)):
        table = FittedTable(_COLUMNS, [[Cell(name, "bold"), Cell(text)] for name, text in rows], width)
        lines.append(TextLine((TextPiece(title.ljust(width)),), "head"))
        lines += [table.line(i) for i in range(len(rows))]
    return lines


class Hints:
    """The line at the bottom, with what a click on it does."""

    def __init__(self, keys: tuple[Key, ...], width: int, note: str = "", role: str = "bold") -> None:
        self._keys = keys
        columns = [TopColumn("", rank + 1, left=True) for rank, _ in enumerate(keys)]
        row = [Cell(f"{key.shown.split()[0]} {key.label}") for key in keys]
        columns.append(TopColumn("", 0, "text", least=min(20, len(note)), most=60))
        self._table = FittedTable(columns, [[*row, Cell(note, role)]], width)

    @property
    def line(self) -> TextLine:
        """The line."""
        pieces = []
        for piece in self._table.line(0).pieces:
            key, space, label = piece.text.partition(" ")
            named = not piece.role and key.strip()
            pieces += [TextPiece(key, "bold"), TextPiece(space + label, "dim")] if named else [piece]
        return TextLine(tuple(pieces), "title")

    def action_at(self, x: int) -> str:
        """Return the action of what stands at a place, or nothing."""
        at = next((one for one in self._table.placed if one.start <= x < one.start + one.width), None)
        return self._keys[at.number].action if at is not None and at.number < len(self._keys) else ""


def hints(width: int, note: str = "", *, page: bool = False) -> Hints:
    """Make the line at the bottom."""
    quit_, help_ = KEYS[:2]
    rest = tuple(key for key in KEYS[2:] if key.label)
    return Hints((BACK, quit_, help_) if page else (quit_, help_, *rest), width, note)
