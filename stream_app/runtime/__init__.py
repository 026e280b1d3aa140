"""The process itself: what it waits for at start, its threads, the queues between them, its memory.

threads.py comes before numpy and torch, so it imports neither, and nothing is imported here.
"""
