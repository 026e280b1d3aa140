"""What stands in the published messages, as descriptions for others: pydantic and JSON Schema, Avro, AsyncAPI.

registry.py is the client of the schema registry; output_schemas.py finds and registers our own there.
"""
