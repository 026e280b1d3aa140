"""Who takes charge: the candidate against whoever is, on the newest part of the history, which taught neither of them.

    duel.py      both at the same origins, on the targets that both answered: losses, coverage, the worst series
    interval.py  how sure the difference of the losses is
    stress.py    windows as they should not be; speed.py: how long one takes
    attempt.py   what the registry remembers of it
    report.py    all of it for people
    judge.py     the checks, and the verdict

docs/decisions/0015 says why it is so.
"""
