"""Lay out the documents as packages have them: ``docs/x.md`` is ``/usr/share/doc/wattshed/x.md``, README.md beside it.

Examples, and the files of ``deploy`` that an operator copies, lie in folders of their own there. Links are rewritten to
where a page lies; what no package has (sources, tests) is named without a link.
"""

import os
import re
import shutil
from pathlib import Path, PurePosixPath

BESIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
FOLDERS = (
    "examples",
    "deploy/grafana",
    "deploy/kubernetes/wattshed",
    "deploy/prometheus",
    "deploy/slurm",
    "deploy/systemd",
)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def write(root: Path, folder: Path) -> None:
    """Copy all documents of a source tree into a folder.

    Parameters
    ----------
    root : Path
        The source tree.
    folder : Path
        Made here; the licence is in it as ``copyright``, by Debian's rule.
    """
    kept = shutil.ignore_patterns("__pycache__", "*.py[co]")
    shutil.copytree(root / "docs", folder, ignore=kept)
    for name in FOLDERS:
        shutil.copytree(root / name, folder / name, ignore=kept)
    for name in BESIDE:
        shutil.copyfile(root / name, folder / name)
    shutil.copyfile(root / "LICENSE", folder / "copyright")
    for page in sorted(folder.rglob("*.md")):
        page.write_text(relinked(page.read_text(), page.relative_to(folder), root, folder))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def source_of(page: PurePosixPath) -> PurePosixPath:
    """Return where a packaged page lies in the source tree."""
    beside = str(page) in BESIDE or any(page.is_relative_to(name) for name in FOLDERS)
    return page if beside else "docs" / page


def relinked(text: str, page: PurePosixPath, root: Path, folder: Path) -> str:
    """Return a page with its links as the package has the files.

    Parameters
    ----------
    text : str
    page : PurePosixPath
        Where it lies in ``folder``.
    root, folder : Path
        The source tree, and the documents of the package.
    """

    def link(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        path, mark, place = target.partition("#")
        if not path or ":" in path:
            return found[0]
        source = os.path.relpath(root / source_of(page).parent / path, root)
        there = source.removeprefix("docs/") if source != "docs" else "."
        if not (folder / there).exists():
            return "" if picture else words
        return f"{picture}[{words}]({os.path.relpath(there, page.parent)}{mark}{place})"

    return _LINK.sub(link, text)
