"""The dashboards as code: what is on them is in `content`, `forecasting` and `machinery`; `build` makes Grafana's JSON."""
