"""Grafana's JSON of the dashboards, by Grafana's own library of types."""

from __future__ import annotations

import itertools

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.content import DASHBOARDS, EVENTS
from deploy.grafana.panels import Dashboard, Panel
from stream_app.observability.metric_table import TABLE

SOURCE = models.DataSourceRef(type_val="prometheus", uid="prometheus")
HEIGHT = {"number": 4, "lines": 8, "stacked": 8}
TAG = "tidecast"


def as_json(content: Dashboard) -> str:
    """The text of a file in dashboards/."""
    made = (
        dashboard.Dashboard(content.title)
        .uid(content.uid)
        .description(content.about)
        .tags([TAG])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_link())
        .with_variable(_variable("stream", TABLE["poll_batches"].name))
        .with_variable(_variable("instance", TABLE["partitions"].name))
    )
    for name, expr in EVENTS.items():
        made.annotation(
            dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color("blue").expr(expr)
        )
    numbers = itertools.count(1)
    for row in content.rows:
        made.with_row(dashboard.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            made.with_panel(_panel(panel).id(next(numbers)))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def _link() -> dashboard.DashboardLink:
    """To the others, with the streams and the time that are looked at."""
    made = dashboard.DashboardLink("tidecast").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return made.as_dropdown(True).include_vars(True).keep_time(True)


def _variable(label: str, metric: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(label)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {label})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all"))
    )


def _panel(panel: Panel) -> timeseries.Panel | stat.Panel:
    made = stat.Panel() if panel.kind == "number" else timeseries.Panel()
    made.title(panel.title).unit(panel.unit).datasource(SOURCE).span(panel.span).height(HEIGHT[panel.kind])
    if panel.about:
        made.description(panel.about)
    low, high = panel.bounds
    if low is not None:
        made.min(low)
    if high is not None:
        made.max(high)
    if isinstance(made, timeseries.Panel):
        made.line_width(1).fill_opacity(10).show_points(common_models.VisibilityMode.NEVER)
        made.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
        if panel.kind == "stacked":
            made.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + number)).datasource(SOURCE)
        made.with_target(target.legend_format(query.legend) if query.legend else target)
    return made


def files() -> dict[str, str]:
    """Name → text."""
    return {f"{each.uid.removeprefix('tidecast-')}.json": as_json(each) for each in DASHBOARDS}
