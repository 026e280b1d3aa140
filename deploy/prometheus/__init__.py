"""Alerts as code: `alerts` says which, why and what to do, `build` makes Prometheus' rules and a page of it."""
