"""No link is dead: those of the pages, and the documents that are named in what wattshed itself says."""

import re
import subprocess

import pytest

from deploy.packages import documents
from tests.markdown import PAGES, ROOT, anchors, links

SPEAKING = ("agent", "exporters", "kernels", "deploy", "examples", "tests/gpu")
"""What prints texts, or is read by somebody: code, units, rules, boards, the chart."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """To a file or folder of the repository, and to a heading that is there."""
    dead = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}" if anchor else path)
    assert dead == []


def test_every_page_can_be_found_from_the_index():
    index = ROOT / "docs/index.md"
    linked = {(index.parent / path).resolve() for path, _ in links(index) if path}
    pages = {*ROOT.glob("docs/*.md"), *ROOT.glob("docs/tutorials/*.md")} - {index}
    assert len(pages) > 25
    assert sorted(page.name for page in pages - linked) == []


DOCUMENT = re.compile(r"(?<![\w/.-])(docs/[\w./-]*\w|deploy/[\w./-]+\.md|(?:README|CONTRIBUTING|SECURITY)\.md)")
OTHERS = {"docs/systemd.md", "docs/web-configuration.md", "docs/x.md"}  # of runc, of Prometheus, an example
TEXTS = (".py", ".service", ".conf", ".yml", ".yaml", ".toml", ".sh", ".txt", ".tpl", ".js", ".html", "")


def documents_named():
    """(file, document) for each `docs/NAME.md` and the like that is named outside of the pages."""
    listed = subprocess.run(["git", "ls-files", *SPEAKING], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in TEXTS and path.is_file() and not path.is_symlink():
            text = path.read_text(encoding="utf-8", errors="ignore")
            yield from ((name, found) for found in DOCUMENT.findall(text))


def test_documents_that_the_code_names_exist():
    named = set(documents_named())
    assert len(named) > 20
    dead = [
        (name, document)
        for name, document in sorted(named)
        if document not in OTHERS and not (ROOT / document).exists() and not sorted(ROOT.glob(f"{document}*"))
    ]
    assert dead == []


def test_packages_have_the_documents_that_the_code_names(tmp_path):
    """`docs/NAME.md` of a help or an error is NAME.md of /usr/share/doc/wattshed there."""
    folder = tmp_path / "wattshed"
    documents.write(ROOT, folder)
    shipped = {(name, found) for name, found in documents_named() if not name.startswith("tests/")} - {
        (name, found) for name, found in documents_named() if found in OTHERS
    }
    assert len(shipped) > 20
    dead = [
        (name, document)
        for name, document in sorted(shipped)
        if not sorted(folder.glob(f"{document.removeprefix('docs/')}*"))
    ]
    assert dead == []
    for page in folder.rglob("*.md"):
        for path, anchor in links(page):
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.relative_to(folder)} links to {path}"
            assert not anchor or target.suffix != ".md" or anchor in anchors(target), f"{page}: {path}#{anchor}"
