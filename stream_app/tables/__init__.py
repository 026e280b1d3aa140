"""Files of readings, CSV or Parquet, wide or long, as one set of columns."""

from stream_app.tables.table import Table, read_table

__all__ = ["Table", "read_table"]
