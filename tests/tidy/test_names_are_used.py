"""What a module defines is used by somebody: a constant, function or class that nobody names is dead."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.tidy.test_tidy import ALL_CODE, REPOSITORY, python_files, relative

LOOKED_AT = ("model_core", "stream_app", "benchmarks", "deploy", "tests")
# By a command of the Makefile.
NAMED_ELSEWHERE = {"write_sums"}
OF_PYTEST = ("test_", "pytest_", "pytestmark")


def defined(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Module-level names. Not functions that are decorated: a fixture is asked for by a parameter. Nor one of several
    that are numbered together, or have a name for all of them as well."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.decorator_list or isinstance(node, ast.ClassDef):
                yield node.lineno, node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if isinstance(targets[0], ast.Tuple) and (len(targets) > 1 or ast.unparse(node).count("= range(")):
                continue
            each = (name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
            yield from ((name.lineno, name.id) for name in each if isinstance(name.ctx, ast.Store))


def read(tree: ast.Module) -> set[str]:
    """Names that a module reads: those of its own, and those that it imports."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def named(tree: ast.Module) -> Iterator[str]:
    """What a module may mean of another one: imported, an attribute, or written as a text of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value


def test_nothing_is_defined_that_nobody_names() -> None:
    abroad = {name for _, tree in python_files(*ALL_CODE, "examples") for name in named(tree)}
    dead = [
        f"{relative(path)}:{line} {name}"
        for path, tree in python_files(*LOOKED_AT)
        for at_home in [read(tree) | abroad]
        for line, name in defined(tree)
        if name not in at_home and not name.startswith(("__", *OF_PYTEST)) and name not in NAMED_ELSEWHERE
    ]
    assert not dead, f"use them or take them away. {dead}"


def test_what_is_named_elsewhere_is_named_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert all(name in makefile for name in NAMED_ELSEWHERE)
