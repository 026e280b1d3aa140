"""The process itself: what it waits for at start, its threads, the queues between them, its memory.

Nothing here may import numpy or torch: threads.py must come before them.
"""
