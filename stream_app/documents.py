"""The pages generated from tables in the code. `python -m stream_app.documents` writes them; a test compares."""

from collections.abc import Callable
from pathlib import Path

from stream_app.observability.metric_table import TABLE
from stream_app.settings.table import configuration_document


def metrics_document() -> str:
    """docs/METRICS.md."""
    lines = [
        "# Metrics",
        "",
        "Served at `/metrics` in Prometheus' text format. Base units; no label grows with the number of series.",
        "Beside them stand the usual `process_…` metrics: memory, CPU, open files, start.",
        "This page is made from the table in `stream_app/observability/metric_table.py` by "
        "`python -m stream_app.documents`.",
        "",
        "| metric | type | labels | what it says |",
        "|---|---|---|---|",
    ]
    for metric in TABLE.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


FOLDER = Path(__file__).parents[1] / "docs"
DOCUMENTS: dict[str, Callable[[], str]] = {
    "CONFIGURATION.md": configuration_document,
    "METRICS.md": metrics_document,
}


def write(folder: Path = FOLDER) -> None:
    folder.mkdir(exist_ok=True)
    for name, document in DOCUMENTS.items():
        (folder / name).write_text(document(), "utf-8")


if __name__ == "__main__":
    write()
