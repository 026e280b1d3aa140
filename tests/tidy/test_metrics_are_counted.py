"""Every metric of the table is counted or shown by somebody: one that stays at zero says that all is well."""

from __future__ import annotations

import ast

from stream_app.observability.metric_table import TABLE
from tests.tidy.test_tidy import python_files, relative

TABLE_FILE = "stream_app/observability/metric_table.py"
COUNTING = "stream_app/observability/metrics.py"
BEGINS_AT_ZERO = "begin"  # Metrics.begin


def names(tree: ast.AST) -> set[str]:
    """Attributes that are looked up, and names that are passed as texts."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def test_every_metric_is_counted_or_shown() -> None:
    used: set[str] = set()
    for path, tree in python_files("stream_app"):
        if relative(path) == TABLE_FILE:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and not (relative(path) == COUNTING and node.name == BEGINS_AT_ZERO):
                used |= names(node)
    # Stages of the pipeline are timed by their short names: spent.on("decode").
    idle = [name for name in TABLE if name not in used and name.removesuffix("_seconds") not in used]
    assert not idle, f"count them where it happens, or take them out of the table. {idle}"
