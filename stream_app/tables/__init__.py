"""Files of readings, CSV or Parquet, wide or long, as one set of columns."""

from stream_app.tables.table import Table, TableFile, read_table

__all__ = ["Table", "TableFile", "read_table"]
