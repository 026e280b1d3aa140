"""What the documents say can be followed: links lead somewhere, examples are read, figures were measured."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from model_core.spec import StreamSpec
from stream_app.cli.command_line import COMMANDS
from stream_app.wire.json import decode
from tests.app.polls import message
from tests.tidy.test_tidy import REPOSITORY, files, relative

# (document, figure there as a regular expression, file of docs/benchmarks, its row)
TOLD = [
    ("README.md", r"([\d,]+) readings/s exactly once", "w1", "tidecast, one process, exactly once"),
    ("README.md", r"take ([\d.]+) core-seconds a minute", "million", "1,000,000 series, one process, a tick a minute"),
    ("README.md", r"forecasts again ([\d.]+) s after", "large", "kill -9 → first new forecast"),
    ("docs/OPERATIONS.md", r"([\d,]+) readings a second exactly once", "w1", "tidecast, one process, exactly once"),
    ("docs/OPERATIONS.md", r"([\d,]+) forecasts a second were published", "published", "forecasts published"),
    ("docs/OPERATIONS.md", r"([\d.]+) a reading in a backlog", "w1", "Redis commands a reading, backlog, exactly once"),
    ("docs/OPERATIONS.md", r"in a backlog, ([\d.]+) live", "latency", "Redis commands a reading, live, exactly once"),
    ("docs/OPERATIONS.md", r"H and Q, not by L ``` .* 24 × 9: ([\d,]+) bytes", "large", "memory, 100,000 series × 512"),
    ("docs/OPERATIONS.md", r"measured: ([\d,]+) MB for", "large", "RSS of that worker"),
    ("docs/OPERATIONS.md", r"Valkey 1.4 × \(([\d,]+) MB\)", "large", "memory of Valkey for it"),
]


def pages() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub names headings."""
    headings = re.findall(r"^#+ +(.*)$", without_code(page.read_text()), re.MULTILINE)
    words = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in words}


def dead_links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            yield f"{relative(page)}: {target}"


def test_every_link_leads_somewhere():
    assert not [dead for page in pages() for dead in dead_links(page)]


def test_the_index_names_every_document():
    named = set(re.findall(r"\]\(([\w/]+\.md)\)", (REPOSITORY / "docs/README.md").read_text()))
    there = {path.name for path in (REPOSITORY / "docs").glob("*.md")} - {"README.md"}
    assert there <= named, f"docs/README.md: {sorted(there - named)}"


def test_the_index_of_decisions_names_each_once():
    folder = REPOSITORY / "docs/decisions"
    named = re.findall(r"\]\(([\w-]+\.md)\)", (folder / "README.md").read_text())
    assert sorted(named) == sorted(path.name for path in folder.glob("0*.md"))


def options() -> dict[str, set[str]]:
    """`train`, `models list`, … → the options that each has."""
    found = {}
    for name, command in COMMANDS.items():
        target = command.load()
        if isinstance(target, typer.Typer):
            below = get_command(target).commands
            found |= {f"{name} {sub}": each.params for sub, each in below.items()}
        else:
            alone = typer.Typer()
            alone.command(name)(target)
            found[name] = get_command(alone).params
    return {name: {"--help", *(o for param in params for o in param.opts)} for name, params in found.items()}


def test_the_commands_in_the_documents_exist_with_their_options():
    known = options()
    groups = {name.split()[0] for name in known if " " in name}
    wrong, seen = [], 0
    for page in pages():
        for line in re.findall(r"tidecast ([a-z-]+[^`\n#;|]*)", page.read_text()):
            words = line.replace('"', "").replace("'", "").split()
            name = words[0].rstrip(".,:)")
            if name in groups:
                name = next((f"{name} {word.rstrip('.,:)')}" for word in words[1:] if word[0] != "-"), name)
            if name.split()[0] not in COMMANDS or name in groups:
                continue  # a sentence, not a command
            named = {match[0] for word in words if (match := re.match(r"--[a-z-]+", word))}
            seen += 1
            if name not in known or named - known[name]:
                wrong.append(f"{relative(page)}: tidecast {line}")
    assert not wrong
    assert seen > 50


def section(title: str) -> str:
    """Of docs/FORMATS.md, without those below it."""
    text = (REPOSITORY / "docs/FORMATS.md").read_text()
    return re.split(r"^#+ ", text.split(f"{title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_messages_of_the_formats_page_are_read_as_it_says():
    usual, own = re.findall(r"```json\n(.*?)```", section("### `json`"), re.DOTALL)
    configured = tomllib.loads(re.search(r"```toml\n(.*?)```", section("### `json`"), re.DOTALL)[1])
    found = []
    for lines, spec in (
        (usual, StreamSpec(topic="meters", freq="15min")),
        (own, StreamSpec(**configured["streams"]["meters"])),
    ):
        for line in lines.splitlines():
            made = decode(spec, [message(json.loads(line))], now_ms=1_772_359_200_000, partition_count=1)
            assert made.dead_letters == []
            found.append(dict(zip(made.readings[0].series_ids, made.readings[0].values.tolist(), strict=True)))
            assert set(made.readings[0].timestamps_ms.tolist()) == {1_772_359_200_000}
    assert found == [
        {"m-7.kwh": 0.42},
        {"m-7.kwh": 0.42, "m-7.volt": 231.5},
        {"m-7.kwh": 0.42, "m-8.kwh": 0.17},
        {"m-7.kwh": 0.42},
    ]


@pytest.mark.parametrize(("document", "pattern", "file", "row"), TOLD, ids=[f"{each[0]} {each[3]}" for each in TOLD])
def test_a_figure_in_the_documents_is_one_that_was_measured(document, pattern, file, row):
    """Within the rounds of the newest run, to the digits that are told; of a single round within a twentieth of it."""
    text = " ".join((REPOSITORY / document).read_text().split())
    told = re.search(pattern, text)[1].replace(",", "")
    rows = json.loads((REPOSITORY / f"docs/benchmarks/{file}.json").read_text())["rows"]
    (measured,) = [each for each in rows if each["what"].startswith(row)]
    least, most = measured["low"], measured["high"]
    if least in (None, most):
        least, most = 0.95 * measured["value"], 1.05 * measured["value"]
    digit = 10 ** (len(told) - len(told.rstrip("0"))) if "." not in told else 10 ** -len(told.partition(".")[2])
    assert least - digit / 2 <= float(told) <= most + digit / 2, f"{document} tells {told}, measured {measured}"


def test_the_readme_compares_itself_as_it_was_measured():
    """Medians of the same rounds."""
    text = " ".join((REPOSITORY / "README.md").read_text().split())
    told = float(re.search(r"That is ([\d.]+) times Kafka Streams with two threads", text)[1])
    rows = json.loads((REPOSITORY / "docs/benchmarks/w1.json").read_text())["rows"]
    ours, theirs = (
        next(row["value"] for row in rows if row["what"] == f"{name}, exactly once")
        for name in ("tidecast, one process", "Kafka Streams")
    )
    assert told == pytest.approx(ours / theirs, abs=0.05)


def test_the_readme_counts_dashboards_and_alerts():
    names = {"six": 6, "seven": 7, "eighteen": 18, "nineteen": 19, "twenty": 20, "twenty-one": 21, "twenty-two": 22}
    text = (REPOSITORY / "README.md").read_text()
    dashboards, alerts = re.search(r"([\w-]+) dashboards and ([\w-]+) alerts", text).groups()
    assert names[dashboards] == len(list((REPOSITORY / "deploy/grafana/dashboards").glob("*.json")))
    assert names[alerts] == len(re.findall(r"^## Tidecast", (REPOSITORY / "docs/ALERTS.md").read_text(), re.MULTILINE))
