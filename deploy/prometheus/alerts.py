"""Which alerts there are: when they fire, why, what to do. Rules and docs/ALERTS.md are made from this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploy.promql import Queries, selector

LATE_S = 60  # a stream is late when it would take this long to catch up
OBJECTIVE = 0.995  # of the time a stream is not late
DAY_S = 86_400

M5, M10, M30 = (Queries(window) for window in ("5m", "10m", "30m"))
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d")


@dataclass(frozen=True)
class Recorded:
    name: str
    expr: str


@dataclass(frozen=True)
class Alert:
    """`page`: somebody gets up. `ticket`: somebody looks on a working day."""

    name: str
    expr: str
    wait: str
    severity: Literal["page", "ticket"]
    summary: str
    cause: str
    action: str


RECORDED = (
    # +Inf while nothing is read although something is there; NaN, which is not late, while there is nothing to read.
    Recorded("tidecast:backlog_seconds", f"{M5.gauge('sum', 'lag', 'stream')} / {M5.rate('readings', 'stream')}"),
    Recorded("tidecast:late", f"tidecast:backlog_seconds > bool {LATE_S}"),
    *(Recorded(f"tidecast:late:ratio_{window}", f"avg_over_time(tidecast:late[{window}])") for window in WINDOWS),
)


def burning(times: float, long: str, short: str) -> str:
    """The error budget of thirty days goes `times` as fast as it may, over a long window and still over a short one."""
    bound = round(times * (1 - OBJECTIVE), 6)
    return f"(tidecast:late:ratio_{long} > {bound} and tidecast:late:ratio_{short} > {bound})"


FALLBACKS = 'rung!="model",reason!~"no_model|too_short"'
# What has an alert of its own is left out, and a worker that has no partition: it is one too many.
WAITS = 'reason!~"assignment|store|held"'
STORE_AWAY = f"{M5.gauge('max', 'not_ready', 'instance', where='reason=`store`')} == 1".replace("`", '"')
# A version that the state names and the registry does not have: where there was no model yet, neither has a name.
MODEL_GONE = f"{M5.gauge('max', 'model_info', 'stream', where='model=`none`,version!=`none`')} == 1".replace("`", '"')
REFUSED_IN_A_ROW = 5  # candidates
TRAINED_S = 2 * DAY_S
CRONJOB = '{cronjob="tidecast-train"}'
# Where it has never succeeded there is no such time: then it counts from when the CronJob was made.
TRAINED = (
    f"max by (cronjob) (kube_cronjob_status_last_successful_time{CRONJOB}) "
    f"or max by (cronjob) (kube_cronjob_created{CRONJOB})"
)

ALERTS = (
    Alert(
        "TidecastForecastsLate",
        f"{burning(14.4, '1h', '5m')} or {burning(6, '6h', '30m')}",
        "2m",
        "page",
        "Forecasts of {{ $labels.stream }} leave late.",
        f"Catching up would take longer than {LATE_S} s, for so long that the month's budget "
        f"({1 - OBJECTIVE:.1%} of the time) is gone "
        "in days. Too few workers, a slow broker or store, a worker that restarts, or a burst of input.",
        "What fires beside it (a worker waits, Redis is away, a partition is held) is the cause: begin there. Else "
        "dashboard overview, row *Is it late*. Lag on all partitions: more workers, up to the partitions. On "
        "one: its worker's "
        "log, and whether the partition is held. Transactions slow: the brokers. Replaying: it ends by itself.",
    ),
    Alert(
        "TidecastForecastsLateSlowly",
        burning(3, "1d", "2h"),
        "15m",
        "ticket",
        "Forecasts of {{ $labels.stream }} are late more often than they may be.",
        "As above, slower: bursts at times of the day, rebalances, or a load near what the workers can do.",
        "Compare lag with the time of day and with rebalances (annotations). Raise KEDA's minReplicaCount, "
        "or add partitions "
        "under a new application_id.",
    ),
    Alert(
        "TidecastLagGrowing",
        f"sum by (stream) (deriv({selector('lag')}[15m])) > 0 and {M5.gauge('sum', 'lag', 'stream')} > 100000",
        "15m",
        "ticket",
        "The lag of {{ $labels.stream }} has grown for half an hour.",
        "More comes in than is processed.",
        "More workers. If all partitions have one already: dashboard machine, which stage is busy; a larger "
        "forecast_every "
        "or more partitions.",
    ),
    Alert(
        "TidecastWorkersGone",
        f"absent({selector('partitions')})",
        "5m",
        "page",
        "No worker is scraped.",
        "None runs, or Prometheus does not find them.",
        "`kubectl get pods -l app.kubernetes.io/component=worker`; their last log line says why they ended. "
        "Pods run: the PodMonitor "
        "and the network policy prometheus-to-tidecast-worker.",
    ),
    Alert(
        "TidecastCrashLoop",
        # Between two tries it is not scraped, for five minutes at last: what counts is what was seen in half an hour.
        f"changes(process_start_time_seconds[30m]) > 2 and on (instance) last_over_time({selector('partitions')}[30m])",
        "0m",
        "page",
        "The worker {{ $labels.instance }} begins again and again.",
        "It ends by itself (a sentence in its last log line says why), is killed for memory, or fails its "
        "liveness probe.",
        "`kubectl logs --previous`, `kubectl describe pod` (OOMKilled?). Kafka away for longer than "
        "limits.recovery_deadline ends a worker too.",
    ),
    Alert(
        "TidecastNotReady",
        f"{M5.gauge('max', 'not_ready', 'reason', where=WAITS)} == 1",
        "3m",
        "page",
        "A worker waits{{ if match `kafka|publisher` $labels.reason }} for Kafka{{ end }}: {{ $labels.reason }}.",
        "publisher: Kafka is away, or takes no outputs (too few in sync, a right). kafka: a worker cannot begin, no "
        "broker lets it in or a topic is missing, or offsets cannot be read. schema registry: messages or the start "
        "wait for it. start, restore: what is missing stands beside it: kafka, schema registry, or TidecastRedisAway.",
        "Bring back what it waits for; /readyz and the worker's log name it. Nothing is lost, and it goes on by "
        "itself. `tidecast doctor` looks at all of it.",
    ),
    Alert(
        "TidecastPublishingFails",
        f"{M10.increase('publish_failures', 'instance')} > 3 or {M10.increase('rewinds', 'instance')} > 3",
        "0m",
        "page",
        "The worker {{ $labels.instance }} does its work again and again.",
        "Transactions are not acknowledged: brokers away or too few in sync, a right that is missing, a "
        "second worker with the same instance_id.",
        "The log has the broker's error. `tidecast topics check`, min.insync.replicas, ACLs of the KafkaUser.",
    ),
    Alert(
        "TidecastRedisAway",
        # A worker that cannot begin without it has written nothing yet, so nothing fails.
        f"{M5.increase('checkpoint_failures', 'instance')} > 0 or {STORE_AWAY}",
        "3m",
        "page",
        "Redis takes no checkpoints of {{ $labels.instance }}.",
        "Redis is away, full (maxmemory with noeviction), or refuses the user.",
        "/readyz says which. Forecasts go on until limits.backlog_readings_max; then input waits. After that "
        "it recovers by itself.",
    ),
    Alert(
        "TidecastPartitionHeld",
        f"{M5.gauge('max', 'held', 'stream', 'partition')} == 1",
        "1m",
        "page",
        "Partition {{ $labels.partition }} of {{ $labels.stream }} is held for malformed input.",
        "More than dead_letter_limit of its newest messages could not be used: a producer changed its format.",
        "Look at the dead letters (reason and detail are in their headers). Mend the producer or "
        "[streams.NAME.fields], then "
        "`tidecast dead-letters accept`.",
    ),
    Alert(
        "TidecastDeadLetters",
        f"{M10.rate('dead_letters', 'stream')} / {M10.busy('poll_batch_messages', 'stream')} > 0.01",
        "10m",
        "ticket",
        "{{ $value | humanizePercentage }} of the messages of {{ $labels.stream }} cannot be used.",
        "Late readings, clocks that are wrong, or a format that changed.",
        "Dashboard data, *By reason*. too_late: max_out_of_orderness and allowed_lateness. "
        "timestamp_out_of_range: the producer's clock. "
        "malformed: its format.",
    ),
    Alert(
        "TidecastCoverageLost",
        f"abs({M5.gauge('avg', 'coverage', 'stream', where='interval=`0.8`')} - 0.8) > 0.1".replace("`", '"'),
        "1h",
        "ticket",
        "The 80 % interval of {{ $labels.stream }} covers {{ $value | humanizePercentage }} too much or too little.",
        "Calibration follows slowly and the data changed fast, or the state was rebuilt a short while ago.",
        "Dashboards quality and drift. After a rebuild it comes back by itself. Otherwise train; look at "
        "drift for which series.",
    ),
    Alert(
        "TidecastSkillBelowNaive",
        f"{M5.gauge('avg', 'skill', 'stream')} < 0",
        "6h",
        "ticket",
        "A naive forecast of {{ $labels.stream }} would be better than the model.",
        "The model learned another world, or the series are a random walk.",
        "`tidecast models rollback` if it began with a swap; otherwise `tidecast train`, which only lets a "
        "better one take charge.",
    ),
    Alert(
        "TidecastFallbackShare",
        f"{M30.rate('forecasts', 'stream', where=FALLBACKS)} / {M30.rate('forecasts', 'stream')} > 0.2",
        "30m",
        "ticket",
        "{{ $value | humanizePercentage }} of the forecasts of {{ $labels.stream }} are not the model's.",
        "Windows with holes, values far from what the model learned, or a model that fails. (No model yet, "
        "and series that have just "
        "begun, do not count.)",
        "Dashboard quality, *Why no higher rung*. too_many_holes: the input. out_of_distribution: train. "
        "model_failed, non_finite: the "
        "worker's log; roll the model back.",
    ),
    Alert(
        "TidecastDriftStorm",
        f"{M5.increase('drift_alarms', 'stream', window='1h')} / {M5.gauge('sum', 'series', 'stream')} > 0.1",
        "10m",
        "ticket",
        "One series in ten of {{ $labels.stream }} has drifted within an hour.",
        "A common cause: a season that changed, a unit that changed, a gateway that sends something else.",
        "The drift topic names the series. If the data are right: train. If not: mend the producer; the "
        "windows forget by themselves.",
    ),
    Alert(
        "TidecastModelTooOld",
        f"time() - {M5.gauge('max', 'model_created', 'stream')} > {7 * DAY_S}",
        "1h",
        "ticket",
        "The model of {{ $labels.stream }} is a week old.",
        "Training does not run, or its gate lets no candidate through (the champion is still better: then it "
        "is no fault).",
        "`tidecast models list` shows candidates and their scores; `tidecast models show candidate` the "
        "report of the gate.",
    ),
    Alert(
        "TidecastModelRefused",
        f"{M5.gauge('max', 'champion_refused', 'stream')} == 1 or {MODEL_GONE}",
        "1m",
        "ticket",
        "A worker cannot load the model of {{ $labels.stream }}.",
        "The registry is away or empty, a file is damaged, or the model does not fit the stream's settings. "
        "The model from before serves; in a worker that begins, the naive forecasts.",
        "Is the volume or store of models.registry there? The worker's log says what is wrong. `tidecast models show "
        "VERSION` checks its sums; train again, or roll back.",
    ),
    Alert(
        "TidecastTrainingGateFailing",
        f"{M5.gauge('max', 'training_refused', 'stream')} >= {REFUSED_IN_A_ROW}",
        "1h",
        "ticket",
        "The last {{ $value }} candidates of {{ $labels.stream }} were refused.",
        "The champion is still better than anything that is learned (then it is no fault); or the history that is "
        "trained on is too short, has changed its meaning, or ends long ago.",
        "`tidecast models report` draws the page of the newest candidate: which check refused it, by how much. Skill "
        "below the naive forecasts as well: the input changed. Otherwise train less often: each try must be surer.",
    ),
    Alert(
        "TidecastTrainingFails",
        f"time() - ({TRAINED}) > {TRAINED_S}",
        "1h",
        "ticket",
        "{{ $labels.cronjob }} has not succeeded for two days.",
        "Its jobs fail (exit code 2: configuration, Kafka away, or nothing to learn from), are killed for memory or "
        "time, or do not start.",
        "`kubectl get jobs`, `kubectl logs job/…`. By hand: `kubectl create job now "
        "--from=cronjob/tidecast-train`, whose success ends the alert too. Needs kube-state-metrics.",
    ),
)
