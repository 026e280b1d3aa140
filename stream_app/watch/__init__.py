"""A running stream for a person to watch: model.py is what there is to see, view.py how a terminal shows it."""

from stream_app.watch.model import ForecastView, SeriesView, WatchModel

__all__ = ["ForecastView", "SeriesView", "WatchModel"]
