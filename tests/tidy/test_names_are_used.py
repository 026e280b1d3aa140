"""What a module defines is used by somebody: a constant, function or class that nobody names is dead."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from tests.tidy.test_tidy import ALL_CODE, REPOSITORY, python_files, relative

LOOKED_AT = ("model_core", "stream_app", "benchmarks")
# By a command of the Makefile.
NAMED_ELSEWHERE = {"write_sums"}


def defined(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Module-level names. Not what is decorated, nor one of several that are numbered together."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.decorator_list or isinstance(node, ast.ClassDef):
                yield node.lineno, node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((node.lineno, target.id) for target in targets if isinstance(target, ast.Name))


def named(tree: ast.Module) -> Iterator[str]:
    """Every name that is read, imported, looked up or written as a text of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value


def test_nothing_is_defined_that_nobody_names() -> None:
    used = Counter(name for _, tree in python_files(*ALL_CODE, "examples") for name in named(tree))
    dead = [
        f"{relative(path)}:{line} {name}"
        for path, tree in python_files(*LOOKED_AT)
        for line, name in defined(tree)
        if not used[name] and not name.startswith("__") and name not in NAMED_ELSEWHERE
    ]
    assert not dead, f"use them or take them away. {dead}"


def test_what_is_named_elsewhere_is_named_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert all(name in makefile for name in NAMED_ELSEWHERE)
