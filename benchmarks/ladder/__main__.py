"""`python -m benchmarks.ladder`: writes docs/LADDER.md, its pictures in docs/ladder/, and the record they are made of.

python -m benchmarks.ladder --draw     only draws again what docs/ladder/record.json holds
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.ladder.page import write_page
from benchmarks.stage import REPOSITORY, Stage, alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="draw what was recorded before")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="where the page goes (docs)")
    chosen = parser.parse_args()
    record = chosen.out / "ladder" / "record.json"
    if not chosen.draw:
        from benchmarks.ladder.recorded import record as recorded

        with alone(), Stage() as stage:
            found = recorded(stage)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    print(write_page(chosen.out, json.loads(record.read_text())))


if __name__ == "__main__":
    main()
