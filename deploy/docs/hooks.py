"""What mkdocs does not know of this repository: links that leave docs/, and the list of decisions.

A page may link to any file of the repository, as it does where one reads it in the repository itself. Here such a file
becomes a page of the site, too: a document as it is, a program as its text.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = "repository"
"""Folder of the site for what lies outside docs/."""
ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
OURS = (ROOT / "exporters/page/icon.svg", ROOT / "deploy/docs/site.css", ROOT / "deploy/docs/site.js")
HOME = {"docs": "index.md", "docs/decisions": "decisions/index.md"}
"""What has a page of another name."""
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".csv": "text", ".yml": "yaml", ".yaml": "yaml"}
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?((?:\s[^)]*)?\))")
_CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside docs/ that one of its pages links to, and the list of decisions."""
    decisions = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri.startswith("decisions/"))
    files.append(File.generated(config, "decisions/index.md", content=_list_of(decisions)))
    for path in OURS:
        files.append(File.generated(config, f"{ELSEWHERE}/{path.name}", abs_src_path=str(path)))
    (config.nav or []).append({"Decisions": ["decisions/index.md", *decisions]})
    about = [f"{ELSEWHERE}/{name}" for name in ALWAYS]
    next(part["Reference"] for part in config.nav or [] if "Reference" in part).extend(about)

    todo = [ROOT / name for name in ALWAYS]
    for file in files.documentation_pages():
        if file.abs_src_path:
            todo += _outside(Path(file.abs_src_path))
    added: set[Path] = set()
    while todo:
        path = todo.pop()
        if path not in added:
            added.add(path)
            files.append(File.generated(config, _place(path), content=_text(path)))
            todo += _outside(path) if path.suffix == ".md" else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Point links that leave docs/ to the pages that stand for what they mean."""
    source = page.file.src_uri
    if source.startswith(f"{ELSEWHERE}/"):
        path = ROOT / source.removeprefix(f"{ELSEWHERE}/")
    else:
        path = Path(config.docs_dir) / source
    if not path.is_file():  # made by this file, with its links right
        return markdown
    here = PurePosixPath(source).parent

    def pointed(match: re.Match[str]) -> str:
        target = _meant(path, match[2])
        if target is None:
            return match[0]
        up = PurePosixPath(*[".."] * len(here.parts))
        return f"{match[1]}{up / _place(target)}{match[3] or ''}{match[4]}"

    return _outside_of_code(markdown, lambda text: _LINK.sub(pointed, text))


def on_env(env: Any, config: MkDocsConfig, files: Files) -> None:  # noqa: ARG001
    """Leave the text of programs out of the search."""
    for file in files.documentation_pages():
        if file.page and file.src_uri.startswith(f"{ELSEWHERE}/") and file.name.count(".") > 0:
            file.page.meta["search"] = {"exclude": True}


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Name the dialog of the search, which the theme leaves without a name."""
    dialog = 'data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"')


def _meant(page: Path, link: str) -> Path | None:
    """Return which file of the repository a link means; None for addresses and for what mkdocs finds itself."""
    if re.match(r"[a-z]+:", link):
        return None
    path = (page.parent / link).resolve()
    inside = path.is_relative_to(ROOT / "docs")
    if not path.is_relative_to(ROOT) or (inside and page.is_relative_to(ROOT / "docs") and not path.is_dir()):
        return None
    return path


def _place(path: Path) -> str:
    """Return where in the site a file of the repository lies."""
    name = path.relative_to(ROOT).as_posix()
    if name in HOME:
        return HOME[name]
    if name.startswith("docs/"):
        return name.removeprefix("docs/") + ("/README.md" if path.is_dir() else "")
    if path.suffix == ".md":
        return f"{ELSEWHERE}/{name}"
    return f"{ELSEWHERE}/{name}/README.md" if path.is_dir() else f"{ELSEWHERE}/{name}.md"


def _outside(page: Path) -> list[Path]:
    """Return the files outside docs/ that a page links to."""
    found = [_meant(page, match[2]) for match in _LINK.finditer(_CODE.sub("", page.read_text(encoding="utf-8")))]
    return [
        path / "README.md" if path.is_dir() and (path / "README.md").exists() else path
        for path in found
        if path and not path.is_relative_to(ROOT / "docs")
    ]


def _text(path: Path) -> str:
    """Return the page that stands for a file or folder of the repository."""
    name = path.relative_to(ROOT)
    if path.is_dir():
        inner = "\n".join(f"* `{child.name}`" for child in sorted(path.iterdir()) if child.name[0] not in "._")
        return f"# {name}\n\n{inner}\n"
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return f"# {name}\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{text}\n````\n"


def _list_of(pages: list[str]) -> str:
    """Return the page that lists all decisions, the newest first."""
    lines = ["# Decisions", "", "Why things are as they are: a page for each choice that somebody will ask about.", ""]
    for page in reversed(pages):
        head = (ROOT / "docs" / page).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"* [{head}]({PurePosixPath(page).name})")
    return "\n".join(lines) + "\n"


def _outside_of_code(markdown: str, change: Any) -> str:
    """Change all text but that of code blocks."""
    parts, end = [], 0
    for block in _CODE.finditer(markdown):
        parts += [change(markdown[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(markdown[end:])])
