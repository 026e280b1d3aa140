"""Bundles: what was sealed comes back, and nothing else does."""

import json

import numpy as np
import pytest

from model_core.bundle import BASE, MANIFEST_FILE, TENSORS_FILE, Bundle, ModelFacts
from model_core.errors import CorruptBundle
from model_core.ladder import Rung
from tests.core.test_predictor import make_bundle, make_spec


@pytest.fixture
def bundle(rng) -> Bundle:
    return make_bundle(rng, make_spec())


def test_a_bundle_comes_back_as_it_was(bundle):
    back = Bundle.from_files(bundle.to_files())
    assert back.manifest == bundle.manifest
    assert back.tensors.keys() == bundle.tensors.keys()
    for name, tensor in bundle.tensors.items():
        np.testing.assert_array_equal(back.tensors[name], tensor)
    assert back.to_files() == bundle.to_files()


def test_any_changed_byte_of_the_weights_is_found(bundle, rng):
    files = bundle.to_files()
    for position in rng.integers(0, len(files[TENSORS_FILE]), 30).tolist():
        changed = bytearray(files[TENSORS_FILE])
        changed[position] ^= 1
        with pytest.raises(CorruptBundle, match="sha256"):
            Bundle.from_files(files | {TENSORS_FILE: bytes(changed)})


def test_a_cut_off_file_is_found(bundle):
    files = bundle.to_files()
    with pytest.raises(CorruptBundle, match="cut off"):
        Bundle.from_files(files | {TENSORS_FILE: files[TENSORS_FILE][:-5]})
    with pytest.raises(CorruptBundle, match="cannot be read"):
        Bundle.from_files(files | {MANIFEST_FILE: files[MANIFEST_FILE][:-5]})
    with pytest.raises(CorruptBundle, match="missing"):
        Bundle.from_files({MANIFEST_FILE: files[MANIFEST_FILE]})


@pytest.mark.parametrize(("name", "value"), [("horizon", 6), ("format", 2), ("series", ["a"]), ("surprise", 1)])
def test_a_manifest_that_does_not_match_is_refused(bundle, name, value):
    files = bundle.to_files()
    manifest = json.loads(files[MANIFEST_FILE]) | {name: value}
    with pytest.raises(CorruptBundle):
        Bundle.from_files(files | {MANIFEST_FILE: json.dumps(manifest).encode()})


def test_tables_that_are_not_finite_are_refused(bundle):
    base = bundle.tensors[BASE].copy()
    base[0, 0, 0] = np.nan
    fields = bundle.manifest.model_dump(exclude={"tensors", "sha256"})
    broken = Bundle.sealed(bundle.tensors | {BASE: base}, **fields)
    with pytest.raises(CorruptBundle, match="finite"):
        Bundle.from_files(broken.to_files())


def test_before_any_training_the_last_value_spreads_like_a_random_walk():
    facts = ModelFacts.none(make_spec())
    assert facts.name is None
    assert facts.season == 24
    np.testing.assert_allclose(facts.base[Rung.LAST_VALUE, 3], 2 * facts.base[Rung.LAST_VALUE, 0])
    np.testing.assert_allclose(facts.base[Rung.MODEL, :, 8], 1.2815515655446004)
    np.testing.assert_allclose(facts.base + facts.base[..., ::-1], 0, atol=1e-12)
