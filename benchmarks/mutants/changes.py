"""Small changes of Python code; a change of other code in the file does not rename them."""

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult, ast.Mod: ast.FloorDiv, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A change of one node of the code.

    Attributes:
        path: The file.
        part: Digest of the function, class or statement at the file's top level that it is in.
        node: The node in that part, counted as `ast.walk` does.
        line: The node's line in the file.
        offset: The same, counted from the part's first line.
        kind, before, after: What is done, to what, and what it becomes.
    """

    path: str
    part: str
    node: int
    line: int
    offset: int
    kind: str
    before: str
    after: str

    @property
    def key(self) -> str:
        """Names the change as long as its part is the same."""
        return f"{self.path}:{self.part}:{self.node}:{self.kind}"


def digest(part: ast.stmt, with_docs: bool = False) -> str:
    """Names a part of a file by its code, whatever its comments, its docstrings and its place."""
    if not with_docs:
        part = copy.deepcopy(part)
        for node in ast.walk(part):
            match node:
                case ast.Expr(value=ast.Constant(value=str()) as text):
                    text.value = ""
    return hashlib.sha256(ast.unparse(part).encode()).hexdigest()[:12]


def parse(path: str) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def part_of(change_: Change) -> ast.stmt:
    """The part of the file that the change is in."""
    return next(part for part in parse(change_.path).body if digest(part) == change_.part)


def runs_at_import(change_: Change) -> bool:
    """Whether the change's line runs when the file is imported: no body of a function has it."""
    part = part_of(change_)
    line = part.lineno + change_.offset
    return not any(
        node.body[0].lineno <= line <= (node.end_lineno or line)
        for node in ast.walk(part)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def change(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The changes of one node, each with its kind."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[op, *_]) if type(op) in COMPARISONS:
            new.ops[0] = COMPARISONS[type(op)]()
            yield "comparison turned", new
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            new.op = OPERATORS[type(op)]()
            yield "operator exchanged", new
        case ast.AugAssign(op=op) if type(op) in OPERATORS:
            new.op = OPERATORS[type(op)]()
            yield "operator exchanged", new
        case ast.BoolOp(op=op):
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "and / or", new
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not taken away", operand
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "sign", operand
        case ast.Constant(value=bool(value)):
            yield "truth value", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "number + 1", ast.Constant(value + 1)
        case ast.If() | ast.IfExp() | ast.While():
            new.test = ast.Constant(False)
            yield "condition never true", new


def _skipped(tree: ast.AST) -> set[int]:
    """Nodes of annotations and of imports for them, which nothing runs, and settings of dataclasses
    (`frozen`, `slots`) and `strict` of zip, which forbid what no code does."""
    roots: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            roots.append(node.returns)
        if isinstance(node, ast.arg | ast.AnnAssign):
            roots.append(node.annotation)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            roots.append(node)
        if isinstance(node, ast.keyword) and node.arg == "strict":
            roots.append(node)
        if isinstance(node, ast.ClassDef):
            roots += [one for one in node.decorator_list if "dataclass" in ast.unparse(one)]
    return {id(below) for root in roots if root is not None for below in ast.walk(root)}


def changes_of(path: str) -> list[Change]:
    """All changes of a file."""
    found = []
    for part in parse(path).body:
        skipped = _skipped(part)
        name = digest(part)
        for number, node in enumerate(ast.walk(part)):
            if id(node) not in skipped:
                for kind, new in change(node):
                    line = getattr(node, "lineno", part.lineno)
                    texts = kind, _shown(node), _shown(new)
                    found.append(Change(path, name, number, line, line - part.lineno, *texts))
    return found


def _shown(node: ast.AST) -> str:
    return ast.unparse(node).split("\n")[0][:100]


def changed(change_: Change) -> str:
    """The file's text with the change made."""
    tree = parse(change_.path)
    part = next(part for part in tree.body if digest(part) == change_.part)
    wanted = list(ast.walk(part))[change_.node]
    (new,) = (new for kind, new in change(wanted) if kind == change_.kind)

    class Exchange(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is wanted else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Exchange().visit(tree)))
