"""The model registry: versions never change, names move in one step, corrupt ones are refused with a clear text."""

import json

import pytest

from model_core.bundle import Bundle
from model_core.errors import CorruptBundle
from model_core.gate.attempt import Attempt
from stream_app.errors import TidecastError
from stream_app.models.registry import ModelRegistry
from tests.core.test_predictor import make_bundle, make_spec

STREAM = "appliances"


@pytest.fixture(params=["folder", "memory"])
def registry(request, tmp_path, topic_prefix) -> ModelRegistry:
    """A folder, and an object store (fsspec's in memory), which has no renames."""
    return ModelRegistry(str(tmp_path / "models") if request.param == "folder" else f"memory://{topic_prefix}")


def bundle_of(rng, version: str) -> Bundle:
    return make_bundle(rng, make_spec(), version=version)


def test_a_published_model_comes_back_and_is_only_a_candidate(registry, rng):
    bundle = bundle_of(rng, "v1")
    assert registry.champion(STREAM) is None
    assert registry.versions(STREAM) == []
    assert registry.publish(STREAM, bundle, {"reason": "for once", "loss": float("nan")}) == "v1"
    assert registry.champion(STREAM) is None
    assert registry.alias(STREAM, "candidate") == "v1"
    assert registry.load(STREAM, "v1").to_files() == bundle.to_files()
    assert registry.report(STREAM, "v1") == {"reason": "for once", "loss": None}


def test_a_version_is_never_written_again(registry, rng):
    first = bundle_of(rng, "v1")
    registry.publish(STREAM, first, {})
    with pytest.raises(TidecastError, match="exists already"):
        registry.publish(STREAM, bundle_of(rng, "v1"), {})
    assert registry.load(STREAM, "v1").to_files() == first.to_files()


def test_promote_and_rollback_swap_champion_and_previous(registry, rng):
    for version in ("v1", "v2"):
        registry.publish(STREAM, bundle_of(rng, version), {})
        registry.promote(STREAM, version)
    assert (registry.champion(STREAM), registry.alias(STREAM, "previous")) == ("v2", "v1")
    assert registry.rollback(STREAM) == "v1"
    assert (registry.champion(STREAM), registry.alias(STREAM, "previous")) == ("v1", "v2")
    assert [(each.version, each.aliases) for each in registry.versions(STREAM)] == [
        ("v1", ("champion",)),
        ("v2", ("candidate", "previous")),
    ]


def test_promoting_the_champion_again_keeps_the_way_back(registry, rng):
    for version in ("v1", "v2"):
        registry.publish(STREAM, bundle_of(rng, version), {})
        registry.promote(STREAM, version)
    registry.promote(STREAM, "v2")
    assert registry.alias(STREAM, "previous") == "v1"


def test_who_asks_for_a_champion_is_told_what_there_is_instead(registry, rng):
    with pytest.raises(TidecastError, match="no champion yet: tidecast train"):
        registry.resolve(STREAM, "champion")
    registry.publish(STREAM, bundle_of(rng, "v1"), {})
    with pytest.raises(TidecastError, match=r"did not take charge.*models report"):
        registry.resolve(STREAM, "champion")
    assert registry.resolve(STREAM, "candidate") == registry.resolve(STREAM, "v1") == "v1"


def test_there_is_nothing_to_roll_back_to_at_first(registry, rng):
    registry.publish(STREAM, bundle_of(rng, "v1"), {})
    registry.promote(STREAM, "v1")
    with pytest.raises(TidecastError, match="no previous model"):
        registry.rollback(STREAM)


def test_streams_do_not_see_each_other(registry, rng):
    registry.publish(STREAM, bundle_of(rng, "v1"), {})
    assert registry.versions("pumps") == []
    with pytest.raises(CorruptBundle, match="no model v1 of stream pumps"):
        registry.load("pumps", "v1")


def test_attempts_are_remembered(registry):
    assert registry.attempts(STREAM) == []
    made = [Attempt("v1", None, 100, 200, passed=True), Attempt("v2", "v1", 150, 260, passed=False)]
    for attempt in made:
        registry.record(STREAM, attempt)
    assert registry.attempts(STREAM) == made
    assert registry.attempts("pumps") == []
    assert registry.versions(STREAM) == []


def test_an_attempt_of_before_does_not_say_how_it_ended(tmp_path):
    registry = ModelRegistry(str(tmp_path))
    registry.record(STREAM, Attempt("v1", None, 100, 200))
    file = tmp_path / STREAM / "attempts" / "v1.json"
    said = json.loads(file.read_text())
    del said["passed"]
    file.write_text(json.dumps(said))
    assert registry.attempts(STREAM) == [Attempt("v1", None, 100, 200, passed=None)]


def test_a_damaged_attempt_is_named(tmp_path):
    registry = ModelRegistry(str(tmp_path))
    registry.record(STREAM, Attempt("v1", None, 100, 200))
    (tmp_path / STREAM / "attempts" / "v1.json").write_text("{}")
    with pytest.raises(CorruptBundle, match=r"attempts/v1\.json"):
        registry.attempts(STREAM)


@pytest.mark.parametrize("name", ["../v1", "a/b", "", ".hidden", "v1\n"])
def test_names_cannot_lead_out_of_the_registry(registry, name):
    with pytest.raises(CorruptBundle):
        registry.load(STREAM, name)
    with pytest.raises(CorruptBundle):
        registry.champion(name)


def test_a_damaged_model_is_refused_and_cannot_take_charge(tmp_path, rng):
    registry = ModelRegistry(str(tmp_path))
    for version in ("v1", "v2"):
        registry.publish(STREAM, bundle_of(rng, version), {})
    registry.promote(STREAM, "v1")
    weights = tmp_path / STREAM / "versions" / "v2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    for refused in (registry.load, registry.promote):
        with pytest.raises(CorruptBundle, match="sha256"):
            refused(STREAM, "v2")
    assert registry.champion(STREAM) == "v1"


@pytest.mark.parametrize("asked", ["champion", "load", "versions", "publish"])
def test_a_registry_that_this_user_may_not_read_is_named(registry, rng, monkeypatch, asked):
    def refused(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    registry.publish(STREAM, bundle_of(rng, "v1"), {})
    monkeypatch.setattr(registry._fs, "cat_file", refused)
    arguments = {"load": ["v1"], "publish": [bundle_of(rng, "v1"), {}]}.get(asked, [])
    with pytest.raises(TidecastError, match=rf"models\.registry = '{registry.address}': expected to read .*{STREAM}"):
        getattr(registry, asked)(STREAM, *arguments)


def test_a_version_without_its_manifest_does_not_exist_yet(tmp_path, rng):
    registry = ModelRegistry(str(tmp_path))
    registry.publish(STREAM, bundle_of(rng, "v1"), {})
    (tmp_path / STREAM / "versions" / "v1" / "manifest.json").unlink()
    assert registry.versions(STREAM)[0].problem is not None
    with pytest.raises(CorruptBundle, match="missing"):
        registry.load(STREAM, "v1")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"version": 3}', b'{"version": "../x"}', b"\xff"])
def test_a_damaged_alias_is_named(tmp_path, content):
    registry = ModelRegistry(str(tmp_path))
    alias = tmp_path / STREAM / "aliases" / "champion.json"
    alias.parent.mkdir(parents=True)
    alias.write_bytes(content)
    with pytest.raises(CorruptBundle):
        registry.champion(STREAM)


def test_files_are_plain_and_no_temporary_one_stays(tmp_path, rng):
    registry = ModelRegistry(str(tmp_path))
    registry.publish(STREAM, bundle_of(rng, "v1"), {})
    registry.promote(STREAM, "v1")
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        *(f"{STREAM}/versions/v1/{name}" for name in ("manifest.json", "model.safetensors", "report.json")),
        *(f"{STREAM}/aliases/{name}.json" for name in ("candidate", "champion")),
    }
    assert json.loads((tmp_path / STREAM / "aliases" / "champion.json").read_text())["version"] == "v1"
