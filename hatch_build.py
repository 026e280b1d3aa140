"""Build hook: the C kernels are compiled before the wheel is packed, or the checkout is installed as editable."""

import platform
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("model_core/compiled", "stream_app/kafka/compiled", "stream_app/wire/compiled")


class Kernels(BuildHookInterface[Any]):
    """A wheel carries the libraries of one machine type, for every Python 3; glibc as old as build.py says."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        compiled = runpy.run_path(str(root / "model_core" / "compiled" / "build.py"))
        made = [path for folder in FOLDERS for path in compiled["build"](root / folder)]
        build_data["artifacts"] += [f"/{path.relative_to(root).as_posix()}" for path in made]
        build_data["pure_python"] = False
        glibc = compiled["GLIBC"].replace(".", "_")
        build_data["tag"] = f"py3-none-manylinux_{glibc}_{platform.machine()}"
