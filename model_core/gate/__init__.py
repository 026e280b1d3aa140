"""Who takes charge: the candidate against the model in charge, on the newest part of the history, from which the
candidate has not learned.

    duel.py      both at the same origins, on targets that both answered: losses, coverage, the worst series
    interval.py  how certain the difference of the losses is
    stress.py holes.py   unusual windows; speed.py: how long one takes
    shadowed.py  whether scores in the shadow prove a candidate
    attempt.py   what the registry remembers of it
    report.py    all of it for people
    checks.py    what must be true of the findings
    judge.py     all of it, in order, and the verdict

docs/decisions/0015 says why it is so.
"""
