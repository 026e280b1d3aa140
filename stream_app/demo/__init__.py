"""`tidecast demo`: the whole story on one machine, on data whose second half is known.

plan.py       what will be done, derived from the data and its freq
run.py        the story: services, topics, worker, first half, trainer, swap, second half, waiting for the last forecast
processes.py  children that never outlive us
stage.py      what is shown while it runs
collecting.py the published messages, as they come
scoring.py    a plain scoring of its own: it trusts nothing that the worker computed but the forecasts themselves
table.py page.py   what is left at the end, for people and machines
"""
