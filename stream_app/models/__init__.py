"""Models as a deployment has them: registry.py keeps versions and who is in charge, watcher.py brings them to a worker.

export.py and learned.py write them for other runtimes; speed.py says what they cost.
"""
