"""docs/ARCHITECTURE.md says what the code is: packages import in its order, and what it names is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.tidy.test_tidy import REPOSITORY, files, imported_modules, python_files, relative

PAGE = REPOSITORY / "docs" / "ARCHITECTURE.md"
DECISIONS = REPOSITORY / "docs" / "decisions"


def part_of(module: str) -> str:
    """`stream_app.wire.json` → wire"""
    return module.split(".")[1]


def order() -> list[str]:
    """Folders and files of stream_app as the page has them, what may import first."""
    rows = PAGE.read_text().partition("This is `stream_app`")[2].partition("And this is `model_core`")[0]
    cells = [line.split("|")[1] for line in rows.splitlines() if line.startswith("| `")]
    return [name.removesuffix(".py").rstrip("/") for cell in cells for name in re.findall(r"`([\w./]+)`", cell)]


def test_the_page_has_a_place_for_each_module_of_the_core() -> None:
    table = PAGE.read_text().partition("And this is `model_core`:")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w./]+)`", table)
    there = {relative(path).split("/")[1] for path, _ in python_files("model_core")} - {"__init__.py"}
    assert sorted(name.rstrip("/") for name in named) == sorted(there), "docs/ARCHITECTURE.md has each once"


def imports() -> set[tuple[str, str, str]]:
    """(where, part that imports, part that is imported), those for the type checker and within functions included."""
    found = set()
    for path, tree in python_files("stream_app"):
        name = module_of(path)
        if name == "stream_app":
            continue
        for line, module in imported_modules(tree):
            if module.startswith("stream_app.") and part_of(module) != part_of(name):
                found.add((f"{relative(path)}:{line}", part_of(name), part_of(module)))
    return found


def test_packages_import_only_what_stands_below_them() -> None:
    place = {name: number for number, name in enumerate(order())}
    parts = {relative(path).split("/")[1].removesuffix(".py") for path, _ in python_files("stream_app")} - {"__init__"}
    assert set(place) == parts, f"the table of docs/ARCHITECTURE.md has each once: {set(place) ^ parts}"
    upward = sorted(f"{where} imports {of} from {who}" for where, who, of in imports() if place[of] < place[who])
    assert not upward, f"move the word that both need below them, or hand the value in. {upward}"


def module_of(path: Path) -> str:
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def really_imported(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """When the program runs, within functions too; not what only the type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from really_imported(node)


def test_no_module_imports_itself_by_way_of_others() -> None:
    trees = {module_of(path): tree for path, tree in python_files("model_core", "stream_app")}
    graph: dict[str, set[str]] = {}
    for module, tree in trees.items():
        of = graph.setdefault(module, set())
        for node in really_imported(tree):
            if isinstance(node, ast.Import):
                of |= trees.keys() & {alias.name for alias in node.names}
            elif node.module in trees:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                of |= (trees.keys() & inside) or {node.module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(f"the word that both need has no place of its own yet: {' ← '.join(circle.args[1])}")


@cache
def definitions() -> dict[str, set[str]]:
    """Class → what it defines; "" → functions of modules and classes."""
    found: dict[str, set[str]] = {"": set()}
    for _, tree in python_files("model_core", "stream_app"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                within = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
                within |= {
                    each.target.id
                    for each in node.body
                    if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
                }
                found.setdefault(node.name, set()).update(within)
                found[""].add(node.name)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[""].add(node.name)
    return found


def is_there(said: str) -> bool:
    """A path, `Class.method` or `function()` of ours; anything else is not looked at."""
    if re.fullmatch(r"[\w/]+\.(py|c|h|md)|[\w/]+/", said):
        return any(f"/{relative(path)}".endswith(f"/{said}") or f"/{said}" in f"/{relative(path)}" for path in files())
    if match := re.fullmatch(r"([A-Z]\w+)\.(\w+)", said):
        known = definitions()
        return match[2] in known.get(match[1], set()) or inherited(match[1], match[2])
    if match := re.fullmatch(r"(\w+)\(\)", said):
        return match[1] in definitions()[""]
    return not re.fullmatch(r"(?:[A-Z][a-z]+){2,}", said) or said in definitions()[""]


def inherited(name: str, method: str) -> bool:
    bases = [
        base.id
        for _, tree in python_files("model_core", "stream_app")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == name
        for base in node.bases
        if isinstance(base, ast.Name)
    ]
    return any(method in definitions().get(base, set()) or inherited(base, method) for base in bases)


def test_what_the_architecture_names_is_there() -> None:
    gone = sorted({said for said in re.findall(r"`([^`\n]+)`", PAGE.read_text()) if not is_there(said)})
    assert not gone, f"docs/ARCHITECTURE.md: say where it is now. {gone}"


def test_files_that_decisions_name_are_there() -> None:
    gone = sorted(
        f"{page.name}: {said}"
        for page in DECISIONS.glob("*.md")
        for said in re.findall(
            r"`((?:stream_app|model_core|tests|benchmarks|deploy|wire|recovery|compiled)/[\w/.]+)`", page.read_text()
        )
        if not any(f"/{said}" in f"/{relative(path)}" for path in files())
    )
    assert not gone, f"a decision that moved says where to. {gone}"
