"""The pages that are made from tables of the code. `python -m stream_app.documents` writes them, a test compares."""

from collections.abc import Callable
from pathlib import Path

from stream_app.observability.metrics import metrics_document
from stream_app.settings.table import configuration_document

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
