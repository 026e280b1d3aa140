"""The dashboards as code: `content` says what is on them, `build` makes Grafana's JSON of it."""
