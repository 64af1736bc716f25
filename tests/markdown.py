"""The pages of the project as data: their blocks, commands, links and anchors, as GitHub and the site read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("README.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
]
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^(?:    .*)?\n)+", re.MULTILINE)
_SHELL = ("sh", "console")
_NAMES = r"wattshed(?= )|make|sudo|helm|kubectl|podman|docker|curl|promtool|pip|sacct|systemctl|\.venv/|python3? "


def with_blocks(page: str, blocks: Mapping[str, str]) -> str:
    """Return a page with its generated blocks renewed: what stands between ``<!-- NAME: ... -->`` and its end."""
    for name, text in blocks.items():
        page = re.sub(
            rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)",
            lambda found, text=text: f"{found[1]}\n{text}\n{found[2]}",  # type: ignore[misc]
            page,
            count=1,
            flags=re.DOTALL,
        )
    return page


class Command(NamedTuple):
    """One command that a page tells its reader to type, and in which line."""

    page: Path
    line: int
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def commands(page: Path) -> list[Command]:
    """Every command of a page: of its shell blocks, of indented blocks, and `wattshed ...` within a line."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in FENCE.finditer(text):
        if block[1] in _SHELL:
            found += _of_block(block[2], text, block.start(2), page, prompt=block[1] == "console")
    rest = FENCE.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
    for block in _INDENTED.finditer(rest):
        for line in re.finditer(rf"^ +(?:\$ )?((?:{_NAMES}).*)$", block[0], re.MULTILINE):
            joined = line[1] + "".join(re.findall(r"\\\n(.*)", block[0][line.end() - 1 :].split("\n\n")[0]))
            found.append(Command(page, _line(text, block.start() + line.start(1)), joined.replace("\\", " ")))
    for span in re.finditer(r"`(wattshed [a-z][^`]*)`", _INDENTED.sub(lambda b: re.sub(r"[^\n]", " ", b[0]), rest)):
        found.append(Command(page, _line(text, span.start(1)), " ".join(span[1].split())))
    return found


def _of_block(block: str, text: str, start: int, page: Path, *, prompt: bool) -> list[Command]:
    """The commands of a shell block, without texts that go into files and programs in quotes."""
    plain = re.sub(r"(<<'(\w+)'.*\n)(?:.*\n)*?\2\n", lambda m: m[1] + "\n" * m[0].count("\n"), block)
    plain = re.sub(r'-c "\n.*?\n"', "-c ...", plain, flags=re.DOTALL)
    plain = plain.replace("\\\n", "  ")
    first, line = _line(text, start), r"^\$ (.*)$" if prompt else r"^(?!#)(.*\S.*)$"
    return [
        Command(page, first + plain[: match.start()].count("\n"), match[1].strip())
        for match in re.finditer(line, plain, re.MULTILINE)
    ]


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def prose(text: str) -> str:
    """A page without its code, which has neither links nor headings."""
    text = FENCE.sub("", text)
    return re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", lambda m: m[0].replace("[", " ").replace("]", " "), text)


def links(page: Path) -> list[tuple[str, str]]:
    """Every link and picture of a page, as (path, anchor); addresses elsewhere are left out."""
    found = re.findall(r"\]\(<?([^)#\s>]*)(#[^)\s>]*)?>?(?:\s+\"[^\"]*\")?\)", prose(page.read_text(encoding="utf-8")))
    return [(path, anchor.removeprefix("#")) for path, anchor in found if not re.match(r"[a-z]+:", path)]


def anchors(page: Path) -> set[str]:
    """What a link may name behind ``#``: the headings of a page, by GitHub's rule."""
    seen: dict[str, int] = {}
    names = set()
    for heading in re.findall(
        r"^#{1,6} +(.*?)(?: +#+)?$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE
    ):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = seen[slug] = seen.get(slug, -1) + 1
        names.add(f"{slug}-{number}" if number else slug)
    return names
