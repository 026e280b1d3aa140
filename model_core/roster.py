"""The roster: which column a series has, what its settings are, and which columns belong to its entity."""

import numpy as np

from model_core.arrays import IntArray
from model_core.columns import MEMBER, Columns
from model_core.spec import StreamSpec
from model_core.windows import NEVER, ROLE_CODES, column_settings

ORDER_WORTH = 256  # with fewer readings, looking up is as cheap
ORDER_MAX = 1 << 18  # readings whose order is remembered
ORDER_ROUNDS, ORDER_LEAST = 4, 4096  # of it, what is learned at once: readings a series, or so many
ORDER_PARTS_MAX = 64  # stretches of it in one answer
ORDER_PAUSE_MAX = 256  # calls without a try, where the order never holds


class Roster:
    """Gives series their columns."""

    def __init__(self, spec: StreamSpec, columns: Columns) -> None:
        self._spec = spec
        self._columns = columns
        self._covariates = spec.past_covariates + spec.future_covariates
        self._entities: dict[str, dict[str, int]] = {}  # entity → variable → column; only with covariates
        self._order = _Order(columns)
        self._enrol([(column, name) for column, name in enumerate(columns.ids) if name is not None])

    def columns_of(self, series_ids: list[str], closed: int) -> tuple[IntArray, set[int]]:
        """Columns [n] of readings, and the set of new columns, which begin after the tick `closed`."""
        index = self._columns.index
        known = self._order.columns_of(series_ids)
        if known is not None:
            return known, set()
        try:
            columns = np.fromiter(map(index.__getitem__, series_ids), np.int64, len(series_ids))
            self._order.learn(columns)
            return columns, set()
        except KeyError:
            names = [name for name in dict.fromkeys(series_ids) if name not in index]
        made = self._columns.add(names)
        self._set_up(made, names, closed)
        self._columns.touch_hot(made)
        self._columns.touch_hot(made, MEMBER)
        self._enrol(list(zip(made.tolist(), names, strict=True)))
        columns = np.fromiter(map(index.__getitem__, series_ids), np.int64, len(series_ids))
        self._order.learn(columns)
        return columns, set(made.tolist())

    def remove(self, columns: IntArray) -> None:
        """Free columns; their series are unknown from now on."""
        if self._covariates:
            for column in columns.tolist():
                name = self._columns.ids[column]
                assert name is not None, "only series in the roster can leave it"
                self._leave(*self._spec.split(name))
        self._columns.remove(columns)
        self._order = _Order(self._columns)

    def _set_up(self, made: IntArray, names: list[str], closed: int) -> None:
        spec, flat = self._spec, self._columns.flat
        alike = not (spec.overrides or spec.targets or self._covariates)  # then names do not matter
        settings = [column_settings(spec, name) for name in (names[:1] if alike else names)]
        for position, field in enumerate(("aggregate", "fill", "role")):
            flat(field)[made] = [of_each[position] for of_each in settings]
        flat("bounds")[made] = [of_each[3:] for of_each in settings]
        flat("last_tick")[made] = np.where(flat("role")[made] == ROLE_CODES["future"], NEVER, closed)

    def _enrol(self, members: list[tuple[int, str]]) -> None:
        if not self._covariates:
            return
        for column, name in members:
            entity, variable = self._spec.split(name)
            self._entities.setdefault(entity, {})[variable] = column
            self._link(entity)

    def _leave(self, entity: str, variable: str) -> None:
        self._entities[entity].pop(variable, None)
        self._link(entity)
        if not self._entities[entity]:
            del self._entities[entity]

    def _link(self, entity: str) -> None:
        """Every member of an entity sees the same covariate columns."""
        variables = self._entities[entity]
        partners = [variables.get(name, -1) for name in self._covariates]
        members = np.fromiter(variables.values(), np.int64, len(variables))
        self._columns.flat("covariates")[members] = partners
        self._columns.touch_hot(members, MEMBER)


class _Order:
    """The order in which series had readings lately. Most streams repeat it from tick to tick, and comparing a list of
    names with the remembered one costs a quarter of looking up each name. Only a cache: the index would answer alike.

    `place[c]` is the first place of column c in the remembered order, −1 if it has none. Freeing a column ends it.
    """

    def __init__(self, columns: Columns) -> None:
        self._state = columns
        self._misses = 0  # in a row
        self._pause = 0  # calls until it is worth another try
        self._names: list[str | None] = []
        self._columns = self._place = np.empty(0, np.int64)

    def columns_of(self, series_ids: list[str]) -> IntArray | None:
        """Columns [n] of these readings where they follow the remembered order, starting anywhere in it."""
        count = len(series_ids)
        if count < ORDER_WORTH or self._pause:
            return None
        parts: list[IntArray] = []
        at = 0
        while at < count:
            start = self._place_of(series_ids[at])
            end = min(start + count - at, len(self._names))
            stretch = series_ids[at : at + end - start] if at or end - start < count else series_ids
            if start < 0 or len(parts) == ORDER_PARTS_MAX or stretch != self._names[start:end]:
                return None
            parts.append(self._columns[start:end])
            at += end - start
        self._misses = 0
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def learn(self, columns: IntArray) -> None:
        """Remember these columns, after those known already if they are others; rarely if the order never repeats."""
        if len(columns) < ORDER_WORTH:
            return
        if self._pause:
            self._pause -= 1
            return
        fresh = columns[0] >= len(self._place) or self._place[columns[0]] < 0
        if not fresh or len(self._columns) + len(columns) > ORDER_MAX:
            self._names, self._columns = [], np.empty(0, np.int64)
            self._pause = min(self._misses, ORDER_PAUSE_MAX)
            self._misses = 2 * self._misses + 1
        # Rounds repeat: a few of them allow comparing in long stretches, more add nothing.
        columns = columns[: min(ORDER_MAX, max(ORDER_ROUNDS * len(self._state), ORDER_LEAST))]
        self._columns = np.concatenate([self._columns, columns])
        names = self._state.ids
        self._names += [names[column] for column in columns.tolist()]
        place = np.full(self._state.used, -1, np.int64)
        place[self._columns[::-1]] = np.arange(len(self._columns) - 1, -1, -1)
        self._place = place

    def _place_of(self, series_id: str) -> int:
        column = self._state.index.get(series_id, -1)
        return int(self._place[column]) if 0 <= column < len(self._place) else -1
