"""Everything a person can configure. model.py is the table; sources.py reads the file and the environment; problems.py
says what is wrong with them; kafka_properties.py is what must not stand in them, secrets.py what is not shown; table.py
prints them.
"""

from stream_app.settings.model import Limits, Settings

__all__ = ["Limits", "Settings"]
