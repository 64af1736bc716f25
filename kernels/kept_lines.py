"""Lines of long reports that say something wanted: all others are left out before anybody reads them.

A report of ``nvidia-smi -q`` has hundreds of lines a GPU, of which a dozen are read. A line is left out only where it
is certain that its reader would learn nothing from it; in doubt it is kept. A line that opens something is held back
until something within it is kept.
"""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.entry import i32, i64, kernel, u8, written
from wattshed.kernels.jit import jit

DEEPEST = 16
"""Elements of XML within each other that are held back at most."""
_NEWLINE, _RETURN, _TAB, _BLANK, _COLON = b"\n\r\t :"
_OPEN, _CLOSE, _SLASH, _AND, _MARK, _ASK, _N, _SINGLE, _DOUBLE, _FIRST, _LAST = b"<>/&!?n'\"!~"
_A, _Z, _LOWER = 65, 90, 32
_SECTION_INDENT, _FACT_INDENT = 4, 8
_LEFT_OUT, _FACTS, _ALL = 0, 1, 2
"""What is wanted of a section: no line, those with wanted names, all."""


@jit
def _line_end(data, begin):
    """Return where the text of a line ends, without its end and blanks, and where the next one begins."""
    at = np.int64(begin)
    while data[at] != _NEWLINE:
        at += 1
    end = at
    while end > begin and (data[end - 1] == _BLANK or data[end - 1] == _RETURN or data[end - 1] == _TAB):
        end -= 1
    return end, at + 1


@jit
def _is_one_of(data, begin, end, names, lengths):
    """Return whether a name is one of some, which are in lower case."""
    for which in range(lengths.size):
        if lengths[which] == end - begin:
            at = 0
            while at < end - begin:
                byte = np.int64(data[begin + at])
                if _A <= byte <= _Z:
                    byte += _LOWER
                if byte != names[which, at]:
                    break
                at += 1
            if at == end - begin:
                return True
    return False


@jit
def _is_plain(data, begin, end):
    """Return whether a text is of printable ASCII and single blanks."""
    at = begin
    while at < end and (data[at] == _BLANK or _FIRST <= data[at] <= _LAST):
        at += 1
    return at == end


@kernel(
    u8[:], i64, u8[:, :], i64[:], written(i64[:]), written(i64[:]), written(i32[:]), returns=i64,
)  # fmt: skip
def report_lines(data, size, names, lengths, state, begins, lines):
    """Choose the lines of ``nvidia-smi -q``, whose sections are told by their indentation.

    Parameters
    ----------
    data : uint8[size + PAD]
        Whole lines.
    size : int
    names, lengths : uint8[n, any], int64[n]
        The names that are wanted, of sections and of facts, in lower case.
    state : int64[1]
        What is wanted of the section in which the lines begin; gets that in which they end. 2 at first.
    begins, lines : int64[n], int32[n]
        Get where each line that is kept begins, and which it is, from 0.

    Returns
    -------
    int
        How many are kept.
    """
    kept = 0
    line = 0
    at = np.int64(0)
    wanted = state[0]
    held = np.int64(-1)
    held_line = 0
    while at < size:
        end, following = _line_end(data, at)
        name = at
        while data[name] == _BLANK:
            name += 1
        depth = name - at
        upto = name
        while upto < end and not (data[upto] == _COLON and data[upto - 1] == _BLANK and data[upto + 1] == _BLANK):
            upto += 1
        is_fact = upto < end
        while upto > name and data[upto - 1] == _BLANK:
            upto -= 1
        keep = True
        if end <= at or name >= end:
            keep = not _is_plain(data, at, end)
        elif depth == 0 or not _is_plain(data, name, end) or upto == name:
            wanted = _ALL
        elif depth <= _SECTION_INDENT:
            keep = _is_one_of(data, name, upto, names, lengths)
            wanted = _FACTS if is_fact or keep else _LEFT_OUT
            held = np.int64(-1)
            if not keep:
                held, held_line = at, line
        elif depth > _FACT_INDENT or wanted == _LEFT_OUT:
            keep = False
        elif wanted == _FACTS:
            keep = _is_one_of(data, name, upto, names, lengths)
        if keep:
            if held >= 0:
                begins[kept], lines[kept] = held, held_line
                kept += 1
                held = np.int64(-1)
            begins[kept], lines[kept] = at, line
            kept += 1
        line += 1
        at = following
    if held >= 0:
        begins[kept], lines[kept] = held, held_line
        kept += 1
    state[0] = wanted
    return kept


@kernel(u8[:], i64[:], written(u8[:]), returns=i64)
def gather_lines(data, begins, out):
    """Copy lines one behind the other, each with its newline; returns how many bytes.

    Parameters
    ----------
    data : uint8[any]
        Whole lines.
    begins : int64[n]
        Where each begins.
    out : uint8[any]
        Gets them; no shorter than they are.
    """
    size = 0
    for which in range(begins.size):
        at = begins[which]
        while data[at] != _NEWLINE:
            out[size] = data[at]
            size += 1
            at += 1
        out[size] = _NEWLINE
        size += 1
    return size


@jit
def _tag(data, begin, end):
    """Return where the name of a tag ends that begins here with its first letter; ``begin`` if it is no plain one."""
    at = np.int64(begin)
    while at < end and data[at] != _CLOSE:
        letter = np.int64(data[at]) | _LOWER
        is_digit = 48 <= data[at] <= 57 and at > begin
        if not (97 <= letter <= 122 or data[at] == 95 or is_digit):
            return np.int64(begin)
        at += 1
    return at if at < end else np.int64(begin)


@jit
def _is_text(data, begin, end):
    """Return whether something is text between tags, and nothing else."""
    for at in range(begin, end):
        if data[at] == _OPEN or data[at] == _CLOSE or data[at] == _AND:
            return False
    return _is_plain(data, begin, end)


@jit
def _same(data, begin, end, other, other_end):
    """Return whether two names are the same."""
    if end - begin != other_end - other:
        return False
    at = 0
    while at < end - begin and data[begin + at] == data[other + at]:
        at += 1
    return at == end - begin


_OTHER, _LEAF, _BEGIN, _END, _TEXT = 0, 1, 2, 3, 4


@jit
def _kind(data, begin, end):
    """Tell what a line of XML is, without the blanks around it, and where the name in it begins and ends."""
    if data[begin] != _OPEN:
        return (_TEXT if _is_text(data, begin, end) else _OTHER), begin, begin
    if data[begin + 1] == _SLASH:
        name_end = _tag(data, begin + 2, end)
        return (_END if name_end == end - 1 and name_end > begin + 2 else _OTHER), begin + 2, name_end
    name, name_end = begin + 1, _tag(data, begin + 1, end)
    if name_end == name:
        return _OTHER, name, name
    if name_end == end - 1:
        return _BEGIN, name, name_end
    closing = end - (name_end - name) - 3
    if closing <= name_end or data[closing] != _OPEN or data[closing + 1] != _SLASH or data[end - 1] != _CLOSE:
        return _OTHER, name, name
    same = _same(data, name, name_end, closing + 2, end - 1)
    return (_LEAF if same and _is_text(data, name_end + 1, closing) else _OTHER), name, name_end


@jit
def _is_uncertain(data, begin, end):
    """Return whether a line begins a comment, an instruction or another document, or ends within a tag."""
    open_tag = False
    single, double = 0, 0
    for at in range(begin, end):
        byte = data[at]
        if byte == _OPEN:
            if data[at + 1] == _MARK or data[at + 1] == _ASK or data[at + 1] == _N:
                return True
            open_tag = True
        elif byte == _CLOSE:
            open_tag = False
        elif byte == _SINGLE:
            single += 1
        elif byte == _DOUBLE:
            double += 1
    return open_tag or single % 2 == 1 or double % 2 == 1


@kernel(
    u8[:], i64, u8[:, :], i64[:], written(i64[:]), written(i64[:, :]), written(i64[:]), written(i32[:]), returns=i64,
)  # fmt: skip
def element_lines(data, size, names, lengths, state, held, begins, lines):
    """Choose the lines of XML that has one element, or one tag, a line: balanced elements that say nothing go.

    Parameters
    ----------
    data, size, begins, lines
        As for `report_lines`.
    names, lengths : uint8[n, any], int64[n]
        The elements that are wanted, in lower case; the first of them is that of the whole document.
    state : int64[1]
        Whether the lines begin within a document in which nothing else was seen than elements and text; gets whether
        they end so. 0 at first.
    held : int64[DEEPEST, 4]
        Room to work in.

    Returns
    -------
    int
        How many are kept.
    """
    kept = 0
    line = 0
    at = np.int64(0)
    certain = state[0]
    depth = 0
    while at < size:
        end, following = _line_end(data, at)
        begin = at
        while begin < end and (data[begin] == _BLANK or data[begin] == _TAB):
            begin += 1
        keep = True
        if begin < end:
            kind, name, name_end = _kind(data, begin, end)
            is_wanted = name_end > name and _is_one_of(data, name, name_end, names, lengths)
            if is_wanted and _is_one_of(data, name, name_end, names[:1], lengths[:1]):
                certain = np.int64(kind == _BEGIN)
            elif kind == _OTHER and _is_uncertain(data, begin, end):
                certain = np.int64(0)
            elif certain > 0 and not is_wanted:
                if kind == _BEGIN and depth < DEEPEST:
                    held[depth, 0], held[depth, 1], held[depth, 2], held[depth, 3] = at, line, name, name_end
                    depth += 1
                    line += 1
                    at = following
                    continue
                if kind == _END and depth > 0:
                    keep = not _same(data, name, name_end, held[depth - 1, 2], held[depth - 1, 3])
                    depth -= 0 if keep else 1
                elif kind == _LEAF or (kind == _TEXT and depth > 0):
                    keep = False
        if keep:
            for which in range(depth):
                begins[kept], lines[kept] = held[which, 0], held[which, 1]
                kept += 1
            depth = 0
            begins[kept], lines[kept] = at, line
            kept += 1
        line += 1
        at = following
    for which in range(depth):
        begins[kept], lines[kept] = held[which, 0], held[which, 1]
        kept += 1
    state[0] = certain
    return kept
