"""The schema registry, by Confluent's API: client.py asks for schemas by id, our_schemas.py for our own."""
