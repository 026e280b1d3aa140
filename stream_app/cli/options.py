"""Options that several commands share, so that they are spelled alike everywhere."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_FILE = Path("tidecast.toml")
Config = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
