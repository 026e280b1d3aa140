"""From readings to forecasts on their way out. pipeline.py has the order of the steps.

forecast_batches.py owns the device, shadows.py runs candidates beside it; decisions.py is what no log decides,
replay.py how it is followed again; leaving.py makes messages of columns; cuts.py says when a transaction ends and what
state goes with it.
"""
