"""The process itself: what it waits for at start, its threads, the queues between them, its memory.

threads.py must come before numpy and torch. So it imports neither, and nothing is imported here.
"""
