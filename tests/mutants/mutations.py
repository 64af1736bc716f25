"""Every small change of one Python file that its tests should notice.

A mutation replaces the text of one syntax node and leaves the rest of the file as it is, so that the diff of a mutant
is one or two lines. Docstrings, annotations, decorators, type-checking imports and calls of a logger are left alone.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.LShift: ">>",
    ast.RShift: "<<",
}
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
ALIKE = {"min", "max", "minimum", "maximum", "hypot"}  # whichever of their arguments comes first
LOGGERS = {"log", "LOG", "logger", "logging"}


@dataclass(frozen=True)
class Mutation:
    """``text[start:end]`` (bytes of UTF-8) becomes ``new``."""

    kind: str
    line: int
    start: int
    end: int
    new: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


def mutations(source: bytes) -> list[Mutation]:
    """All mutations of ``source``, in the order of the text."""
    found = _Finder(source)
    found.visit(ast.parse(source))
    return sorted(set(found.mutations), key=lambda m: (m.start, m.end, m.kind, m.new))


def differs(mutation: Mutation, source: bytes) -> bool:
    """Tell whether a mutation leaves a file that parses, and not to the same."""
    try:
        return ast.dump(ast.parse(mutation.apply(source))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


class _Finder(ast.NodeVisitor):
    def __init__(self, source: bytes) -> None:
        self.source, self.mutations = source, []
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def span(self, node):
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def text(self, node):
        start, end = self.span(node)
        return self.source[start:end].decode()

    def put(self, kind, node, new, upto=None):
        start, end = self.span(node)
        self.mutations.append(Mutation(kind, node.lineno, start, self.span(upto)[1] if upto else end, new))

    # What is left alone

    def visit_Module(self, node):
        for child in node.body:
            self.visit(child)

    def visit_FunctionDef(self, node):
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d)):
            self.visit(default)
        for child in node.body:
            self.visit(child)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        for child in node.body:
            self.visit(child)

    def visit_AnnAssign(self, node):
        if node.value:
            self.visit(node.value)

    def visit_If(self, node):
        if "TYPE_CHECKING" not in ast.dump(node.test):
            self.condition(node.test)
            self.generic_visit(node)

    def visit_While(self, node):
        self.generic_visit(node)

    def visit_Assert(self, node):
        """An assertion of the product is not a behaviour."""

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in LOGGERS:
                return
            self.put("statement dropped", node, "pass")
        self.generic_visit(node)

    # Expressions

    def condition(self, test):
        self.put("condition negated", test, f"not ({self.text(test)})")

    def visit_IfExp(self, node):
        self.condition(node.test)
        self.generic_visit(node)

    def visit_Compare(self, node):
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            for new in COMPARISONS[type(op)]:
                self.put("comparison", left, f"{self.text(left)} {new} {self.text(right)}", upto=right)
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node):
        if (new := ARITHMETIC.get(type(node.op))) and not isinstance(node.left, ast.JoinedStr):
            self.operator(node, new)
        self.generic_visit(node)

    def operator(self, node, new):
        """Replace only the operator between both sides, wherever brackets and line breaks are."""
        start, end = self.span(node.left)[1], self.span(node.right)[0]
        between = self.source[start:end].decode()
        symbols = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"}
        symbols |= {ast.BitAnd: "&", ast.BitOr: "|", ast.LShift: "<<", ast.RShift: ">>"}
        text = between.replace(symbols[type(node.op)], new, 1)
        line = node.left.end_lineno
        self.mutations.append(Mutation("arithmetic", line, start, end, text))

    def visit_BoolOp(self, node):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            start, end = self.span(left)[1], self.span(right)[0]
            text = self.source[start:end].decode().replace(old, new, 1)
            self.mutations.append(Mutation("boolean", left.end_lineno, start, end, text))
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.Not):
            self.put("not dropped", node, f"({self.text(node.operand)})")
        elif isinstance(node.op, ast.USub):
            self.put("sign dropped", node, self.text(node.operand))
        self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, bool):
            self.put("constant", node, str(not node.value))
        elif isinstance(node.value, int | float):
            self.put("constant", node, repr(node.value + 1))
            if isinstance(node.value, int) and node.value > 1:
                self.put("constant", node, repr(node.value - 1))

    def visit_JoinedStr(self, node):
        """Text for people: what stands in it is not mutated."""

    def visit_Call(self, node):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in TWINS:
            _, end = self.span(node.func)
            self.mutations.append(Mutation("twin function", node.lineno, end - len(name), end, TWINS[name]))
        swapped = () if name in ALIKE and not node.keywords else zip(node.args, node.args[1:], strict=False)
        for one, two in swapped:
            if not isinstance(one, ast.Starred) and not isinstance(two, ast.Starred):
                between = self.source[self.span(one)[1] : self.span(two)[0]].decode()
                self.put("arguments swapped", one, self.text(two) + between + self.text(one), upto=two)
        self.generic_visit(node)

    # Statements

    def visit_Assign(self, node):
        if not isinstance(node.targets[0], ast.Name):  # a name that is never set would be a crash, not a trial
            self.put("statement dropped", node, "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node):
        self.put("statement dropped", node, "pass")
        if isinstance(node.op, ast.Add | ast.Sub):
            new = "-=" if isinstance(node.op, ast.Add) else "+="
            self.put("arithmetic", node, f"{self.text(node.target)} {new} {self.text(node.value)}")
        self.generic_visit(node)

    def visit_Raise(self, node):
        self.put("statement dropped", node, "pass")
        self.generic_visit(node)

    def visit_Continue(self, node):
        self.put("loop", node, "break")

    def visit_Break(self, node):
        self.put("loop", node, "continue")

    def visit_Return(self, node):
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.put("nothing returned", node, "return None")
        self.generic_visit(node)
