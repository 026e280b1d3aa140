"""Models as a deployment has them: registry.py keeps versions and who is in charge, watcher.py brings them to a worker,
loaded.py is one that is ready to answer.

export.py and learned.py write them for other runtimes; speed.py says what they cost.
"""
