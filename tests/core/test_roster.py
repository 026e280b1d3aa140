"""The roster answers as a plain dict would, whatever order it has learned."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core import roster
from model_core.columns import Columns
from model_core.roster import Roster
from model_core.spec import StreamSpec
from model_core.windows import ROLE_CODES, window_fields

SPEC = StreamSpec.model_validate({"topic": "pumps", "freq": "10min", "horizon": 2, "context_length": 4})
names = st.integers(0, 12).map(str)
# A call asks for a stretch of a round that repeats, from anywhere in it; rounds change now and then.
stretches = st.tuples(st.lists(names, min_size=1, max_size=12), st.integers(0, 11), st.integers(1, 40))
steps = st.lists(st.one_of(stretches, stretches.map(lambda s: (s, s, s)), names), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(steps, st.sampled_from([1, 3]), st.sampled_from([8, 1000]))
def test_series_keep_their_columns_whatever_order_they_speak_in(steps, worth, most) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roster, "ORDER_WORTH", worth)
        patch.setattr(roster, "ORDER_MAX", most)
        columns = Columns(window_fields(SPEC))
        asked = Roster(SPEC, columns)
        for step in steps:
            if isinstance(step, str):
                if step in columns.index:
                    asked.remove(np.array([columns.index[step]]))
                continue
            for round_, start, count in step if isinstance(step[0], tuple) else (step,):
                series_ids = [str(round_[(start + at) % len(round_)]) for at in range(count)]
                unknown = {name for name in series_ids if name not in columns.index}
                found, new = asked.columns_of(series_ids, closed=7)
                assert [columns.ids[column] for column in found.tolist()] == series_ids
                assert found.tolist() == [columns.index[name] for name in series_ids]
                assert {columns.ids[column] for column in new} == unknown


def test_a_round_that_repeats_is_looked_up_once(monkeypatch) -> None:
    """Otherwise the property above would hold and the speed be gone."""
    asked = Roster(SPEC, Columns(window_fields(SPEC)))
    round_ = [f"s{number}" for number in range(1000)]
    log = round_ * 6
    asked.columns_of(log[:700], 0)
    asked.columns_of(log[700:2000], 0)
    monkeypatch.setattr(asked._order, "learn", lambda columns: pytest.fail("looked up one by one"))
    for start, end in ((2000, 2300), (2300, 4650), (4650, 6000)):
        found, new = asked.columns_of(log[start:end], 0)
        assert (found.tolist(), new) == ([place % 1000 for place in range(start, end)], set())


def test_new_series_get_the_settings_of_their_own_name() -> None:
    changes = {"past_covariates": ["rain"], "overrides": [{"match": "a*", "aggregate": "last", "lower_bound": 3}]}
    spec = StreamSpec.model_validate({"topic": "pumps", "freq": "10min", "horizon": 2, "context_length": 4} | changes)
    columns = Columns(window_fields(spec))
    found, _ = Roster(spec, columns).columns_of(["a.flow", "b.flow", "b.rain"], closed=7)
    assert columns.flat("role")[found].tolist() == [ROLE_CODES["target"], ROLE_CODES["target"], ROLE_CODES["past"]]
    assert columns.flat("bounds")[found].tolist() == [[3, np.inf], [-np.inf, np.inf], [-np.inf, np.inf]]
    assert columns.flat("aggregate")[found[0]] != columns.flat("aggregate")[found[1]]
    assert (columns.flat("last_tick")[found] == 7).all()
