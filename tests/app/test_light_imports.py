"""What a command does not need, it does not import: a start is short because of it."""

import subprocess
import sys

import pytest

WORKER = "from stream_app.runtime.threads import pin_threads; import stream_app.settings, stream_app.worker"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("from stream_app.cli import main; main(['--help'])", ["numpy", "torch", "faust", "confluent_kafka", "redis"]),
        (WORKER, ["torch", "holidays", "pyarrow", "plotly", "fastavro", "fastapi"]),
    ],
)
def test_what_is_not_needed_is_not_imported(statement, absent):
    told = f"import sys\ntry:\n    exec({statement!r})\nexcept SystemExit:\n    pass\nprint('|', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=100, check=True)
    modules = set(done.stdout.rpartition("|")[2].split())
    assert "stream_app" in modules
    assert modules.isdisjoint(absent)
