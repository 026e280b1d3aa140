"""Every setting does something: what is configured is read by the code that it is about."""

import ast
from functools import cache

import pytest
from pydantic import BaseModel

from model_core.spec import FieldMapping, Outputs, Override, StreamSpec
from stream_app.settings.model import Api, Http, Kafka, Limits, Models, Redis, SchemaRegistry, Settings
from tests.tidy.test_tidy import python_files, relative

# By what names the code knows the values of each table.
OWNERS: dict[type[BaseModel], set[str]] = {
    Settings: {"settings", "_settings"},
    Http: {"http"},
    Kafka: {"kafka"},
    Redis: {"redis"},
    SchemaRegistry: {"schema_registry"},
    Models: {"models"},
    Api: {"api", "_api"},
    Limits: {"limits", "_limits"},
    StreamSpec: {"spec", "_spec"},
    FieldMapping: {"fields", "_fields"},
    Outputs: {"outputs"},
    Override: {"rule"},
}
OF_THE_TABLES = ("stream_app/settings/", "model_core/spec.py")
# delivery: only one value passes its validator. match: by override_of. Outputs.topic(kind) takes the others by name.
READ_BY_THE_TABLES = {"delivery", "match", "forecasts", "accuracy", "drift", "dead_letters", "journal", "control"}


@cache
def owned_attributes(tree: ast.AST) -> set[tuple[str, str]]:
    """(last name of the owner, attribute): `self._settings.redis.url` has (_settings, redis) and (redis, url)."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute | ast.Name):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
            found.add((owner, node.attr))
    return found


@pytest.mark.parametrize("table", OWNERS, ids=lambda table: table.__name__)
def test_every_setting_is_read(table: type[BaseModel]) -> None:
    trees = python_files("model_core", "stream_app")
    outside = [tree for path, tree in trees if not relative(path).startswith(OF_THE_TABLES)]
    reads = {name for tree in outside for owner, name in owned_attributes(tree) if owner in OWNERS[table]}
    # What the table itself makes of a setting counts when that is read: dormant_after by way of dormant_ticks.
    derived = {
        node.name: {name for owner, name in owned_attributes(node) if owner == "self"}
        for path, tree in trees
        if relative(path).startswith(OF_THE_TABLES)
        for each in ast.walk(tree)
        if isinstance(each, ast.ClassDef) and each.name == table.__name__
        for node in each.body
        if isinstance(node, ast.FunctionDef)
    }
    while more := {used for name in reads & derived.keys() for used in derived[name]} - reads:
        reads |= more
    unread = set(table.model_fields) - reads - READ_BY_THE_TABLES
    assert not unread, f"{table.__name__}: implement it where it belongs, or remove it from the table. {sorted(unread)}"
