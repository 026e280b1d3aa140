"""What stands in the published messages, as descriptions for others: pydantic and JSON Schema, Avro, AsyncAPI."""
