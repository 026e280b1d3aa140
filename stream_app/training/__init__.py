"""Programs beside the workers that fit, judge and try models; model_core does the arithmetic.

train_job.py trains once, train_service.py when control.py asks for it; backtest_job.py and try_job.py compare.
"""
