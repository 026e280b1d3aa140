"""The dashboards as code: `content`, `forecasting` and `machinery` hold what is on them, `build` makes the JSON."""
