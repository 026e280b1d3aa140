"""The roster: which column a series has, what its settings are, and which columns belong to its entity."""

import numpy as np

from model_core.arrays import IntArray
from model_core.columns import Columns
from model_core.spec import StreamSpec
from model_core.windows import NEVER, ROLE_CODES, column_settings


class Roster:
    """Gives series their columns. `group[c]`: readings of one group keep their order (an entity with covariates)."""

    def __init__(self, spec: StreamSpec, columns: Columns) -> None:
        self._spec = spec
        self._columns = columns
        self._covariates = spec.past_covariates + spec.future_covariates
        self._entities: dict[str, dict[str, int]] = {}  # entity → variable → column; only with covariates
        self._entity_number: dict[str, int] = {}
        self.group = np.empty(0, np.int64)
        self._enrol([(column, name) for column, name in enumerate(columns.ids) if name is not None])

    def columns_of(self, series_ids: list[str], closed: int) -> tuple[IntArray, set[int]]:
        """Columns [n] of readings, made where new (they start behind the tick `closed`), and the set of new ones."""
        index = self._columns.index
        try:
            return np.fromiter(map(index.__getitem__, series_ids), np.int64, len(series_ids)), set()
        except KeyError:
            names = [name for name in dict.fromkeys(series_ids) if name not in index]
        made = self._columns.add(names)
        for column, name in zip(made.tolist(), names, strict=True):
            self._set_up(column, name, closed)
        self._columns.touch_hot(made)
        self._enrol(list(zip(made.tolist(), names, strict=True)))
        return np.fromiter(map(index.__getitem__, series_ids), np.int64, len(series_ids)), set(made.tolist())

    def remove(self, columns: IntArray) -> None:
        """Free columns; their series are unknown from now on."""
        if self._covariates:
            for column in columns.tolist():
                name = self._columns.ids[column]
                assert name is not None, "only series in the roster can leave it"
                self._leave(*self._spec.split(name))
        self._columns.remove(columns)

    def _set_up(self, column: int, name: str, closed: int) -> None:
        flat = self._columns.flat
        aggregate, fill, role, lower, upper = column_settings(self._spec, name)
        flat("aggregate")[column], flat("fill")[column], flat("role")[column] = aggregate, fill, role
        flat("bounds")[column] = lower, upper
        flat("last_tick")[column] = NEVER if role == ROLE_CODES["future"] else closed

    def _enrol(self, members: list[tuple[int, str]]) -> None:
        if len(self.group) < self._columns.used:
            grown = np.arange(max(self._columns.used, 2 * len(self.group)), dtype=np.int64)
            grown[: len(self.group)] = self.group
            self.group = grown
        if not self._covariates:
            return
        for column, name in members:
            entity, variable = self._spec.split(name)
            self._entities.setdefault(entity, {})[variable] = column
            self.group[column] = self._entity_number.setdefault(entity, len(self._entity_number))
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
        self._columns.touch_hot(members)
