"""Writes the reference of docs/python.md from docstrings: ``python -m tests.library.write_docs``; a test compares."""

import inspect
import re
import textwrap
from pathlib import Path

import wattshed
from tests.markdown import with_blocks

PAGE = Path(__file__).parents[2] / "docs/python.md"
OFFERED = (
    "replay", "Report", "Picture", "read", "Recording", "fleet.estimate", "fleet.simulate", "fleet.scenario",
    "fleet.scenarios", "measure", "Measurement", "MeasuredEnergy", "total", "add_work", "InputError",
)  # fmt: skip
"""In their order; what a class has follows it."""
_SECTION = re.compile(r"^(\w+)\n-{3,}\n", re.MULTILINE)


def page(text):
    """The page with its reference renewed."""
    return with_blocks(text, {"reference": "\n".join(entries())})


def entries():
    """The reference: a heading, the signature, and what the docstring says, for each thing."""
    for name in OFFERED:
        found = wattshed
        for part in name.split("."):
            found = getattr(found, part)
        yield entry(f"wattshed.{name}", found)
        for member, value in sorted(vars(found).items()) if inspect.isclass(found) and name != "InputError" else ():
            if not (member.startswith("_") or isinstance(value, classmethod) or inspect.ismemberdescriptor(value)):
                yield entry(f"{name}.{member}", value)


def entry(name, found):
    """One thing of the reference."""
    heading = f"#### `{name}`" if name[0].isupper() else f"### `{name}`"
    return f"{heading}\n\n{signature(name, found)}{markdown(inspect.getdoc(found))}"


def signature(name, found):
    """How a function is called; nothing for what is not called."""
    if not inspect.isfunction(found):
        return ""
    signed = inspect.signature(found)
    own = [one.replace(annotation=inspect.Parameter.empty) for one in signed.parameters.values() if one.name != "self"]
    called = f"{name}{signed.replace(parameters=own, return_annotation=inspect.Signature.empty)}"
    lines = textwrap.wrap(called, 110, subsequent_indent=" " * (len(name) + 1))
    return "```text\n" + "\n".join(lines) + "\n```\n\n"


def markdown(docstring):
    """A docstring in numpy's style as Markdown."""
    first, *sections = _SECTION.split(docstring)
    parts = [reflowed(first)]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        if title == "Examples":
            continue  # the page has its own
        parts.append(f"{title}:\n\n" + "\n".join(items(body, title)))
    return "\n\n".join(parts) + "\n"


def reflowed(text):
    """Paragraphs, each in one line."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def items(body, title):
    """Entries of a section: a name and its type, or a type alone, and below it what is said about it."""
    for name, said in re.findall(r"^(\S.*)\n((?:[ \t]+.*\n?|\n)*)", body + "\n", re.MULTILINE):
        names, _, kind = name.partition(" : ")
        shown = ", ".join(f"`{one}`" for one in names.split(", ")) if kind or title != "Raises" else f"`{names}`"
        of_kind = f" ({kind})" if kind else ""
        text = reflowed(said)
        yield f"- {shown}{of_kind}: {text}" if text else f"- {shown}{of_kind}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
