"""`python -m deploy`: write what is made by code. A test compares what is committed with what would be written."""

from pathlib import Path

from deploy.grafana import build as grafana
from deploy.prometheus import build as prometheus

REPOSITORY = Path(__file__).parents[1]


def made() -> dict[str, str]:
    """Path in the repository → text."""
    dashboards = grafana.files()
    return {
        **{f"deploy/grafana/dashboards/{name}": text for name, text in dashboards.items()},
        "deploy/grafana/dashboards/kustomization.yaml": _config_maps(sorted(dashboards)),
        "deploy/prometheus/rules/tidecast.yml": prometheus.rules(),
        "deploy/k8s/components/monitoring/rules.yaml": prometheus.operator_object(),
        "docs/ALERTS.md": prometheus.page(),
    }


def _config_maps(names: list[str]) -> str:
    """One ConfigMap a dashboard, with the label that Grafana's sidecar looks for."""
    lines = [
        "# Made by `python -m deploy`. Grafana's sidecar finds them by their label.",
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        'generatorOptions: {disableNameSuffixHash: true, labels: {grafana_dashboard: "1"}}',
        "configMapGenerator:",
    ]
    lines += [f"  - {{name: tidecast-{name.removesuffix('.json')}, files: [{name}]}}" for name in names]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name, text in made().items():
        (REPOSITORY / name).write_text(text, "utf-8")
