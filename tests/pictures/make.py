"""``make pictures``: takes every picture of docs/images anew, and lists them; names of some take only these."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.pictures import screen
from tests.pictures.node import serving
from tests.pictures.shots import ROOT, SHOTS

IMAGES = ROOT / "docs/images"
LIST = "README.md"


def listed() -> str:
    """Return the list of the pictures, as it stands in their folder."""
    rows = "".join(f"| [{name}]({name}) | {shot.shows} |\n" for name, shot in sorted(SHOTS.items()))
    return (
        "# Pictures\n\n"
        "`make pictures` takes every picture of this folder anew; none is drawn or typed by hand. Unless the list\n"
        "says otherwise, a picture shows the simulated node of `make run` after 23 minutes of virtual time: **no GPU\n"
        "drew these watts.** The page, the commands and the replay show the same run, so their numbers agree.\n\n"
        "| picture | what it shows |\n|---|---|\n" + rows
    )


def take(names: list[str], out: Path) -> None:
    """Take these pictures, and write the list."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as node, screen.browser() as browser:
        for name in names:
            began = time.monotonic()
            SHOTS[name].take(node, browser, out / name)
            size = (out / name).stat().st_size
            sys.stderr.write(f"{name}: {size / 1000:,.0f} kB, {time.monotonic() - began:.1f} s\n")
    (out / LIST).write_text(listed(), encoding="utf-8")


def main(words: list[str] | None = None) -> int:
    """Take the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", help="only these pictures")
    parser.add_argument("--out", type=Path, default=IMAGES, help="write here instead of into docs/images")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.name) - SHOTS.keys():
        parser.error(f"no such picture: {', '.join(sorted(unknown))}; there are {', '.join(SHOTS)}")
    take(arguments.name or list(SHOTS), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
