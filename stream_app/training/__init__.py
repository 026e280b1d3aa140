"""Programs beside the workers that fit, judge and try models; the arithmetic is in model_core.

train_job.py trains once, train_service.py whenever control.py asks for it; backtest_job.py and try_job.py compare.
"""
