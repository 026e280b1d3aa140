"""Everything a person can configure.

model.py is the table of settings, sources.py reads the file and the environment, problems.py says what is wrong with
them. kafka_properties.py refuses what the worker itself must set, secrets.py hides what must not be shown, and table.py
prints the settings.
"""

from stream_app.settings.model import Limits, Settings

__all__ = ["Limits", "Settings"]
