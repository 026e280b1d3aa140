"""Models of a deployment.

registry.py keeps versions and says which one is in charge, watcher.py brings them to a worker, loaded.py is a model
that is ready to answer. export.py and learned.py write models for other runtimes; speed.py measures what they cost.
"""
