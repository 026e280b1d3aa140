"""The published messages, described for others: pydantic and JSON Schema, Avro, AsyncAPI."""
