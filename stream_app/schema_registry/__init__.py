"""The schema registry, by Confluent's API: client.py reads schemas by id, our_schemas.py finds and registers our
own.
"""
