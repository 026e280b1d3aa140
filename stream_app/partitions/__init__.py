"""Values about a partition that all threads pass on (polling/, pipeline/, delivery/, recovery/). Nothing here acts.

names.py is what a partition is called, owned.py a partition while this worker owns it, journaled.py the decisions about
it that its log does not determine.
"""
