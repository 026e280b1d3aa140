"""The alerts by Prometheus' own tools: rules and configurations checked, each alert seen to fire in its case alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.prometheus.alerts import ALERTS, DAY_S
from deploy.prove.programs import REPOSITORY, expect, get, run

PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
MINUTES = 400


def constant(value: float, minutes: int = MINUTES) -> str:
    return f"{value:.2f}x{minutes}"


def rising(by: float, start: float = 0, minutes: int = MINUTES) -> str:
    return f"{start:.0f}{by:+.0f}x{minutes}"


READ = 'tidecast_readings_total{stream="s",verdict="accepted",instance="a"}'
LAG = 'tidecast_lag_messages{stream="s",partition="0",instance="a"}'
SERIES = 'tidecast_series{stream="s",partition="0",instance="a"}'
MODEL = 'tidecast_forecasts_total{stream="s",rung="model",reason="ok",instance="a"}'
NAIVE = 'tidecast_forecasts_total{stream="s",rung="seasonal_naive",reason="%s",instance="a"}'
OWNED = 'tidecast_partitions_assigned{instance="a"}'
BEGAN = 'process_start_time_seconds{instance="a"}'
WAITS = 'tidecast_not_ready{reason="%s",instance="a"}'
DEAD = 'tidecast_dead_letters_total{stream="s",reason="malformed",instance="a"}'
POLLED = 'tidecast_poll_batch_messages_sum{stream="s",instance="a"}'
CREATED = 'tidecast_model_created_timestamp_seconds{stream="s",instance="a"}'
COVERED = 'tidecast_coverage_ratio{stream="s",interval="0.8",instance="a"}'
TRAINED = 'kube_cronjob_status_last_successful_time{cronjob="%s"}'
TRAINS = 'kube_cronjob_created{cronjob="tidecast-train"}'
Case = dict[str, str]

# Alert → (minutes until it must fire, series in which it fires, series in which it must not).
# The second differs from the first in as little as makes it harmless.
CASES: dict[str, tuple[int, Case, list[Case]]] = {
    "TidecastForecastsLate": (
        180,
        {LAG: rising(60_000), READ: rising(6_000)},
        [
            {LAG: constant(50), READ: rising(6_000)},
            {LAG: constant(0), READ: constant(7)},  # nothing to read
            {LAG: f"0x150 {constant(20_000, 4)} 0x300", READ: rising(6_000)},  # a burst of four minutes
        ],
    ),
    "TidecastForecastsLateSlowly": (
        380,
        {LAG: constant(20_000), READ: rising(6_000)},
        [{LAG: f"{constant(20_000, 3)} {constant(0)}", READ: rising(6_000)}],
    ),
    "TidecastLagGrowing": (60, {LAG: rising(9_000)}, [{LAG: constant(500_000)}, {LAG: rising(-9_000, 4_000_000)}]),
    "TidecastWorkersGone": (20, {READ: rising(1)}, [{OWNED: constant(4)}]),
    "TidecastCrashLoop": (
        20,
        {BEGAN: "0x3 60x3 120x3 180x3 240x20", OWNED: f"{constant(4, 12)} _x20"},  # away when it is looked at
        [{BEGAN: "0x9 60x30", OWNED: constant(4)}, {BEGAN: "0x3 60x3 120x3 180x3 240x20"}],
    ),
    "TidecastNotReady": (
        20,
        {WAITS % "publisher": constant(1)},
        [
            {WAITS % "publisher": f"0x18 {constant(1)}"},
            {WAITS % "assignment": constant(1)},
            {WAITS % "start": "1x2 0x30"},
        ],
    ),
    "TidecastPublishingFails": (
        20,
        {'tidecast_publish_failures_total{instance="a"}': rising(1)},
        [{'tidecast_publish_failures_total{instance="a"}': f"0x10 {constant(1)}"}],
    ),
    "TidecastRedisAway": (
        20,
        {'tidecast_checkpoint_failures_total{instance="a"}': rising(60)},
        [
            {'tidecast_checkpoint_failures_total{instance="a"}': f"0x17 {rising(60)}"},
            {WAITS % "store": f"0x18 {constant(1)}"},
            {OWNED: constant(1)},
        ],
    ),
    "TidecastPartitionHeld": (
        10,
        {'tidecast_partition_held{stream="s",partition="0",instance="a"}': constant(1)},
        [{'tidecast_partition_held{stream="s",partition="0",instance="a"}': constant(0)}],
    ),
    "TidecastDeadLetters": (
        60,
        {DEAD: rising(20), POLLED: rising(1_000)},
        [{DEAD: rising(5), POLLED: rising(1_000)}, {DEAD: f"0x55 {rising(20)}", POLLED: rising(1_000)}],
    ),
    "TidecastCoverageLost": (
        120,
        {COVERED: constant(0.65)},
        [{COVERED: constant(0.75)}, {COVERED: f"0.8x100 {constant(0.6)}"}],
    ),
    "TidecastSkillBelowNaive": (
        390,
        {'tidecast_skill_ratio{stream="s",instance="a"}': constant(-0.1)},
        [{'tidecast_skill_ratio{stream="s",instance="a"}': constant(0.1)}],
    ),
    "TidecastFallbackShare": (
        120,
        {MODEL: rising(60), NAIVE % "too_many_holes": rising(40)},
        [
            {MODEL: rising(90), NAIVE % "too_many_holes": rising(10)},
            {NAIVE % "no_model": rising(100)},
            {MODEL: rising(60), NAIVE % "too_short": rising(40)},
        ],
    ),
    "TidecastDriftStorm": (
        90,
        {'tidecast_drift_alarms_total{stream="s",detector="cusum",instance="a"}': rising(1), SERIES: constant(300)},
        [{'tidecast_drift_alarms_total{stream="s",detector="cusum",instance="a"}': rising(1), SERIES: constant(3_000)}],
    ),
    "TidecastModelTooOld": (120, {CREATED: constant(-8 * DAY_S)}, [{CREATED: constant(-6 * DAY_S)}]),
    "TidecastModelRefused": (
        30,
        {'tidecast_champion_refused{stream="s",instance="a"}': f"0x20 {constant(1)}"},
        [
            {'tidecast_champion_refused{stream="s",instance="a"}': f"1x20 {constant(0)}"},
            {'tidecast_model_info{stream="s",model="none",version="none",instance="a"}': constant(1)},
        ],
    ),
    "TidecastTrainingGateFailing": (
        90,
        {'tidecast_training_refused_in_a_row{stream="s",instance="a"}': constant(5)},
        [
            {'tidecast_training_refused_in_a_row{stream="s",instance="a"}': constant(4)},
            {'tidecast_training_refused_in_a_row{stream="s",instance="a"}': f"5x50 {constant(0)}"},
        ],
    ),
    "TidecastTrainingFails": (
        120,
        {TRAINED % "tidecast-train": constant(-3 * DAY_S), TRAINS: constant(-9 * DAY_S)},
        [
            {TRAINED % "tidecast-train": constant(-DAY_S), TRAINS: constant(-9 * DAY_S)},
            {TRAINED % "other": constant(-3 * DAY_S)},
            {TRAINS: constant(-DAY_S)},  # its first night has not come
        ],
    ),
}
# Other ways into the same alert, at the same minute.
AS_WELL: dict[str, list[Case]] = {"TidecastTrainingFails": [{TRAINS: constant(-3 * DAY_S)}]}  # it has never succeeded
COUNTED = 'ALERTS{alertname="%s",alertstate="firing"}'


def prove(folder: Path) -> Iterator[str]:
    get("debian.sh", folder, "prometheus", "prometheus-alertmanager")
    programs = folder / "debian" / "usr" / "bin"
    version = run([programs / "promtool", "--version"]).split()[2]
    run([programs / "promtool", "check", "rules", PROMETHEUS / "rules" / "tidecast.yml"])
    run([programs / "promtool", "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml"])
    run([programs / "amtool", "check-config", PROMETHEUS / "alertmanager.yml"])
    yield f"promtool {version.rstrip(',')} and amtool accept rules and configurations"
    expect(set(CASES) == {alert.name for alert in ALERTS}, "expected a case for each alert")
    cases = folder / "alerts.yml"
    cases.write_text(yaml.safe_dump(_tests(expected=1), sort_keys=False))
    run([programs / "promtool", "test", "rules", cases])
    harmless = sum(len(others) for _, _, others in CASES.values())
    yield f"each of {len(CASES)} alerts fires in its case, and in none of {harmless} beside them (promtool test rules)"
    cases.write_text(yaml.safe_dump(_tests(expected=0), sort_keys=False))
    said = run([programs / "promtool", "test", "rules", cases], code=1)
    complained = set(re.findall(r'alertname=\\?"(\w+)', said))
    expect(complained == set(CASES), f"expected a complaint for each alert, missing {set(CASES) - complained}")
    yield "control: when each case is said to be silent, promtool complains about each"


def _tests(*, expected: int) -> dict[str, Any]:
    """As promtool reads them; `expected`: how many alerts of the name fire in the case that is theirs."""
    tests = []
    for name, (minute, fires, harmless) in CASES.items():
        firing = [fires, *AS_WELL.get(name, ())]
        for case, count in [*((each, expected) for each in firing), *((other, 0) for other in harmless)]:
            sample = [] if not count else [{"labels": "{}", "value": count}]
            test = {"expr": f"count({COUNTED % name})", "eval_time": f"{minute}m", "exp_samples": sample}
            inputs = [{"series": series, "values": values} for series, values in case.items()]
            tests.append({"interval": "1m", "input_series": inputs, "promql_expr_test": [test]})
    rules = str(PROMETHEUS / "rules" / "tidecast.yml")
    return {"rule_files": [rules], "evaluation_interval": "1m", "tests": tests}
