"""`tidecast demo`: the whole story on one machine, on data whose second half is known.

plan.py       what will be done, derived from the data and its freq
run.py        the story: services, topics, worker, first half, trainer, swap, second half, waiting for the last forecast
processes.py  child processes that never outlive the demo
stage.py      what is shown while it runs
collecting.py the published messages, as they arrive
scoring.py    a plain scoring of its own, which uses nothing of the worker but the published forecasts
table.py page.py   the result, for people and programs
"""
