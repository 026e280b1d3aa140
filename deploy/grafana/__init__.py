"""The dashboards as code: `content`, `forecasting` and `machinery` say what is on them, `build` makes Grafana's JSON."""
