"""From readings to forecasts on their way out. pipeline.py has the order of the steps.

forecast_batches.py owns the device, and shadows.py runs candidates beside the model in charge. decisions.py makes and
follows what the log does not determine, replay.py repeats the past. leaving.py turns columns into messages; cuts.py
decides when a transaction ends, and which states go with it.
"""
