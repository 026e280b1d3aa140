"""Saved cells → docs/ACCURACY.md and its plot. What was not measured is said to be missing, never filled in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import published
from benchmarks.accuracy.figures import METHODS, SETS
from benchmarks.accuracy.gift import MODELS
from benchmarks.accuracy.protocol import HORIZONS_ALL, TEST_WINDOWS
from benchmarks.accuracy.published import PATCHTST_BATCH
from benchmarks.accuracy.rivals import SAMPLED, SEED
from benchmarks.charts import Kind, Value, bars
from benchmarks.demand.measure import CELL
from benchmarks.demand.page import section
from benchmarks.demand.retail import CITED
from benchmarks.probabilities import page as probabilities
from model_core.gate.checks import MARGIN
from model_core.training.train import NETWORK_GAIN_MIN

PAGE, PLOT = "ACCURACY.md", "mse.svg"
BOTH = "-both"  # the ending of files about both forms of ridge together
DROPPED = ", ".join(str(TEST_WINDOWS[horizon] % PATCHTST_BATCH) for horizon in HORIZONS_ALL)
BATCHES = "-batches"  # of files about ridge over the windows of full batches
INTRODUCTION = f"""# Accuracy

Written by `python -m benchmarks.accuracy --data DIR`; no number in its tables is typed by hand. DIR holds ETTh1.csv.gz
and ETTh2.csv.gz, which are read in place. Method, penalty and hashes of the weights were saved in
[accuracy/{METHODS}](accuracy/{METHODS}) before the test part was opened; no weight and no penalty was fitted to it.

The forecasts are of tidecast's own models. `ridge` uses its own sums, its choice on the validation part, and its
predictor as the worker runs it. `patch_mixer` is trained by the product's recipe on top of that ridge (a small
network, one seed). L = 512, without calendar features and without constants: ridge on centred windows, as it is known
from the literature. These two choices were made while this benchmark was being built, with results in view, not by
the validation part. So the tables also have lines in which the validation part decides about constants; calendar
features were offered to it in GIFT-Eval only. The validation part alone chooses penalty, prior and how lags count.
Costs are processor seconds.
"""
OFFLINE = f"""## Offline: trained on the training part alone

Long-horizon protocol of ETT: 12/4/4 months of 30 days, z-score from the training part alone, validation and test
include the context rows, stride 1, no dropped last batch. Errors are of z-scores, averaged over all windows, series and
steps. Penalty, prior and lags are chosen by squared error on the validation part. The network always learns absolute
errors. *Chosen*: the model with the smaller squared error on the validation part. *auto*: what `model = "auto"` would
take, which is the network if its absolute error there is at least 2 % less.
PatchTST's own code leaves out the last batch of {PATCHTST_BATCH} test windows where it is not full: its numbers are
without the newest {DROPPED} windows, by horizon. *Its windows*: our score over the windows that it counted.
"""
OPERATIONAL = """## Operational: another protocol, not to be compared with the table above

The same test windows, forecast as a running system would do it. The rule was fixed beforehand: penalty, prior and
lags stay as the validation part chose them. *Refit once* solves again from the sums of the training and the
validation part. *Refit weekly* adds, every 168 hours of the test part, the windows whose targets are complete by
then, and solves again. No forecast has seen a value after its origin. Retraining reads no old data: sums are added,
as `tidecast train` adds the sums of old data ([decision 30](decisions/0030-sums-between-trainings.md)). *Faded* is
the same with a `training_half_life`: older windows count less. Of none, 360, 180 and 90 days it is the half-life that
did best in weekly refits over the validation part. The network of `patch_mixer` has no sums: *refit once* fits it
anew on both parts.

*Half without constants, half with them*: the weights of both ridges, each with its own penalty, prior and lags, are
averaged after each refit. The mean is one matrix again and costs nothing more when served. No choice is needed: in
months 7 to 16, before the test part, forecasts with constants and without are within half a hundredth of each other,
sometimes one ahead and sometimes the other. Where evidence does not settle a question, the mean of both answers is the
safe one (Bates and Granger 1969): its squared error is never above the mean of theirs. The weights are equal, not
fitted. The rule was added when the lines of both forms had been seen
([decision 34](decisions/0034-half-of-each-form.md)).

*The chosen one* is ridge refitted weekly or the network refitted once, by the same choice as above (a rule that was
added when the two cells of H = 96 had been seen). [Decision 26](decisions/0026-what-better-forecasts-were-made-of.md)
says how well the validation part chooses.
"""
SAMPLE = f"""## Beside them, on a sample of windows

Theta and ETS (statsforecast) are fitted anew to each window of 512 cells, which takes too long for all windows. So
there are {SAMPLED} origins that are test windows of every horizon, drawn with seed {SEED}, for all seven series. All
numbers in this table are of that same sample. ETS is additive with an automatic trend, clamped to the range of its
window.
"""
GIFT = """## GIFT-Eval: ett1/H/short

Horizon 48, the 20 windows at the end of ETTh1, MASE and CRPS as defined there (gluonts). `tidecast train` ran on the
rows before the first window; the model is not refitted, and its quantiles are as trained (without what a worker learns
online). Calendar and model are chosen by pinball on the newest part of those rows; the other model is shown too. Naive
forecasts, and what is marked as a median alone, are points here: their CRPS is that of a forecast without spread.
"""


def write_page(folder: Path) -> Path:
    raw = folder / "accuracy"
    found = {path.stem: json.loads(path.read_text()) for path in raw.glob("*.json") if path.name != METHODS}
    parts = [INTRODUCTION, _machines(found), OFFLINE, _offline(found), OPERATIONAL, _operational(found)]
    parts += [_means(found, raw), SAMPLE, _sampled(found), _costs(found), _shuffled(found)]
    parts += [GIFT, _gift(found), *([section(found[CELL], _table)] if CELL in found else [])]
    parts += [probabilities.section(raw, _table), _sources()]
    page = folder / PAGE
    page.write_text("\n".join(part for part in parts if part))
    return page


def _cell(found: dict[str, Any], data: str, horizon: int) -> dict[str, Any] | None:
    return found.get(f"{data}-{horizon}")


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|".join("---" for _ in head)
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def _number(value: float | None) -> str:
    return "not run" if value is None else f"{value:.4f}".lstrip("0")


def _by_cell(
    found: dict[str, Any], first: str, read: Callable[[dict[str, Any]], float | None], kind: str = ""
) -> list[str]:
    """One line: a number for each data set and horizon, and their mean when all are there. `kind` as the files end."""
    values = []
    for data in SETS:
        for horizon in HORIZONS_ALL:
            cell = found.get(f"{data}-{horizon}{kind}")
            values.append(None if cell is None else read(cell))
    there = [value for value in values if value is not None]
    mean = float(np.mean(there)) if len(there) == len(values) else None
    return [first, *map(_number, values), _number(mean)]


HEAD = ["", *(f"{data} {horizon}" for data in SETS for horizon in HORIZONS_ALL), "mean"]


def _offline(found: dict[str, Any]) -> str:
    names = {
        "offline": "**tidecast ridge**",
        "constants by validation, offline": "**tidecast ridge, constants by validation**",
        "patch_mixer, offline": "**tidecast patch_mixer**",
        "chosen, offline": "**tidecast, the chosen one**",
        "seasonal naive": "seasonal naive",
        "last value": "last value",
    }
    lines = []
    for metric, theirs in (("mse", published.PATCHTST_MSE), ("mae", published.PATCHTST_MAE)):
        lines += [_by_cell(found, f"{title}, {metric.upper()}", _score(name, metric)) for name, title in names.items()]
        numbers = [value for data in SETS for value in theirs[data]]
        mean = _number(float(np.mean(numbers)))
        lines.append([f"PatchTST/64, published {metric.upper()}", *map(_number, numbers), mean])
        its_windows = f"tidecast ridge, its windows, {metric.upper()}"
        lines.append(_by_cell(found, its_windows, _score("offline", metric), BATCHES))
    windows = _by_cell(found, "test windows", lambda cell: cell["windows"])
    lines.append([windows[0], *(text.split(".")[0] for text in windows[1:-1]), ""])
    lines += [_chosen(found, key, lambda method, k=key: method[k]) for key in ("penalty", "prior", "lags")]
    lines.append(_chosen(found, "constants by validation", _constants))
    lines.append(_chosen(found, "chosen", lambda method: method["network"]["by_squares"]))
    lines.append(_chosen(found, "auto", lambda method: "patch_mixer" if method["network"]["auto"] else "ridge"))
    return _table(HEAD, lines)


def _constants(method: dict[str, Any]) -> str:
    if "constants" not in method:
        return "not run"
    return "yes" if method["constants"]["by_validation"] else "no"


def _chosen(found: dict[str, Any], title: str, of: Callable[[dict[str, Any]], object]) -> list[str]:
    """One line of what the validation part chose."""
    cells = [_cell(found, data, horizon) for data in SETS for horizon in HORIZONS_ALL]
    values = ["" if cell is None else of(cell["method"]) for cell in cells]
    return [title, *map(_said, values), ""]


def _operational(found: dict[str, Any]) -> str:
    titles = {
        "refit once": "tidecast ridge, refit once",
        "refit weekly": "tidecast ridge, refit weekly",
        "refit weekly, faded": "tidecast ridge, refit weekly, faded",
        "constants by validation, refit weekly": "tidecast ridge, refit weekly, constants by validation",
        "patch_mixer, refit once": "tidecast patch_mixer, refit once",
        "chosen, refit": "tidecast, the chosen one",
    }
    lines = []
    for metric in ("mse", "mae"):
        mean = f"**tidecast ridge, refit weekly, half without constants, half with them**, {metric.upper()}"
        lines.append(_by_cell(found, mean, _score("refit weekly", metric), BOTH))
        for name, title in titles.items():
            lines.append(_by_cell(found, f"**{title}**, {metric.upper()}", _score(name, metric)))
    lines.append(_chosen(found, "half-life, days", lambda method: method["half_life_days"] or "none"))
    lines.append(_chosen(found, "constants gain on the validation part", lambda method: f"{_gain(method):.1%}"))
    return _table(HEAD, lines) + "\n" + _by_margin(found)


def _gain(method: dict[str, Any]) -> float:
    """By what share constants make the squared error on the validation part smaller."""
    without, with_constants = method["constants"]["validation_mse"]
    return float(1 - with_constants / without)


def _by_margin(found: dict[str, Any]) -> str:
    """What becomes of the choice about constants where it must be worth something."""
    cells = [_cell(found, data, horizon) for data in SETS for horizon in HORIZONS_ALL]
    there = [cell for cell in cells if cell is not None and "constants" in cell["method"]]
    if len(there) < len(cells):
        return ""
    means = {}
    for margin in (MARGIN, NETWORK_GAIN_MIN):
        free, known = (_score(name, "mse") for name in ("constants by validation, refit weekly", "refit weekly"))
        means[margin] = np.mean([free(cell) if _gain(cell["method"]) >= margin else known(cell) for cell in there])
    told = ", ".join(f"{margin:.0%} asked: mean MSE {_number(float(mean))}" for margin, mean in means.items())
    return (
        "If constants are taken only where they gain as much on the validation part as the product asks of a new\n"
        f"model, or of a network before it takes one (refit weekly): {told}.\n"
        "Both margins are older than this table; the idea to apply them here is not.\n"
    )


def _score(name: str, metric: str) -> Callable[[dict[str, Any]], float | None]:
    """None where a cell was measured before there was this line."""
    return lambda cell: cell["scores"].get(name, {}).get(metric)


def _means(found: dict[str, Any], raw: Path) -> str:
    """A chart of mean MSE over the eight cells; what is operational stands apart from what is offline."""
    operational = {
        "tidecast ridge, refit weekly (operational)": "refit weekly",
        "tidecast ridge, refit once (operational)": "refit once",
        "tidecast patch_mixer, refit once (operational)": "patch_mixer, refit once",
        "tidecast, the chosen one (operational)": "chosen, refit",
    }
    offline = {"tidecast ridge, offline": "offline", "tidecast patch_mixer, offline": "patch_mixer, offline"}
    naive = {"seasonal naive": "seasonal naive", "last value": "last value"}
    cells = [_cell(found, data, horizon) for data in SETS for horizon in HORIZONS_ALL]
    there = [cell for cell in cells if cell is not None]
    if len(there) < len(cells):
        return ""

    def means(names: dict[str, str], kind: Kind) -> list[Value]:
        score = {title: _score(name, "mse") for title, name in names.items()}
        return [Value(title, kind, float(np.mean([of(cell) for cell in there]))) for title, of in score.items()]

    patchtst = float(np.mean(list(published.PATCHTST_MSE.values())))
    beside = Value("PatchTST/64 (published, offline)", "peer", patchtst)
    groups = [means(operational, "ours"), [*means(offline, "ours"), beside], means(naive, "peer")]
    (raw / PLOT).write_text(bars("Mean MSE of the eight cells", groups, _number))
    return f"![mean MSE of the eight cells](accuracy/{PLOT})\n"


def _sampled(found: dict[str, Any]) -> str:
    titles = {
        "offline": "tidecast ridge, offline",
        "refit once": "tidecast ridge, refit once",
        "refit weekly": "tidecast ridge, refit weekly",
        "patch_mixer, offline": "tidecast patch_mixer, offline",
        "patch_mixer, refit once": "tidecast patch_mixer, refit once",
    }
    names = (*titles, "seasonal naive", "last value", "window mean")
    lines = []
    for metric in ("mse", "mae"):
        for name in names:
            title = titles.get(name, name)
            lines.append(_by_cell(found, f"{title}, {metric.upper()}", lambda c, n=name, m=metric: c["sampled"][n][m]))
        for rival in _rival_names(found):
            values = [
                found[f"{data}-rivals"]["rivals"][rival]["scores"][str(horizon)][metric]
                if f"{data}-rivals" in found
                else None
                for data in SETS
                for horizon in HORIZONS_ALL
            ]
            there = [value for value in values if value is not None]
            mean = float(np.mean(there)) if len(there) == len(values) else None
            lines.append([f"{rival}, {metric.upper()}", *map(_number, values), _number(mean)])
    return _table(HEAD, lines)


def _rival_names(found: dict[str, Any]) -> list[str]:
    return next((list(found[f"{data}-rivals"]["rivals"]) for data in SETS if f"{data}-rivals" in found), [])


def _costs(found: dict[str, Any]) -> str:
    def seconds(key: str, factor: float = 1.0) -> list[str]:
        cells = [_cell(found, data, horizon) for data in SETS for horizon in HORIZONS_ALL]
        return ["" if cell is None else _said(factor * cell["cost"][key]) for cell in cells]

    lines = [
        ["tidecast ridge: fit and choose, s", *seconds("fit_s"), ""],
        ["tidecast ridge: refit once, s", *seconds("refit_s"), ""],
        ["tidecast ridge: one weekly refit, s", *seconds("weekly_refit_s"), ""],
        ["tidecast patch_mixer: fit the network, s", *seconds("network_fit_s"), ""],
        ["tidecast patch_mixer: refit it once, s", *seconds("network_refit_s"), ""],
        ["tidecast ridge and both naive forecasts: forecast, µs a window", *seconds("forecast_us"), ""],
        ["tidecast patch_mixer and both naive forecasts: forecast, µs a window", *seconds("network_forecast_us"), ""],
    ]
    for rival in _rival_names(found):
        each = {
            data: found[f"{data}-rivals"]["rivals"][rival]["window_s"] for data in SETS if f"{data}-rivals" in found
        }
        costs = [f"{1e6 * each[data]:,.0f}" if data in each else "" for data in SETS for _ in HORIZONS_ALL]
        lines.append([f"{rival}: fit and forecast 720, µs a window", *costs, ""])
    return "Cost, processor time:\n\n" + _table(HEAD, lines)


def _shuffled(found: dict[str, Any]) -> str:
    lines = []
    for data in SETS:
        for horizon in HORIZONS_ALL:
            cell = _cell(found, data, horizon)
            if cell is not None and cell["shuffled"]:
                means = cell["scores"]["window mean"]["mse"]
                skill = 1 - cell["scores"]["offline"]["mse"] / means
                lines.append([f"{data} {horizon}", f"{skill:.3f}", f"{cell['shuffled']['skill']:.3f}"])
    head = ["", "skill against each window's mean", "the same with shuffled targets"]
    text = "## Shuffled targets\n\nA model that is fitted on the targets of other windows must have no skill.\n\n"
    return text + _table(head, lines)


def _gift(found: dict[str, Any]) -> str:
    lines = [
        [f"{name} (published)", f"{mase:.3f}", f"{crps:.3f}", "", ""]
        for name, (mase, crps) in published.GIFT_EVAL_ETT1_H_SHORT.items()
    ]
    note = "Not run yet.\n"
    if "gift" in found:
        for name, row in found["gift"]["table"].items():
            cost = [f"{row['fit_s']:.1f}", f"{row['forecast_s']:.2f}"] if "fit_s" in row else ["", ""]
            lines.append([f"**{name}**", f"{row['mase']:.3f}", f"{row['crps']:.3f}", *cost])
        method = found["gift"]["method"]
        each = [", ".join(f"{key.replace('_', ' ')} {_said(of)}" for key, of in method[m].items()) for m in MODELS]
        note = f"Chosen by the held-out part: {method['chosen']}. Methods: {'; '.join(each)}.\n"
    lines.sort(key=lambda line: float(line[1]))
    return _table(["", "MASE", "CRPS", "training, s", "all forecasts, s"], lines) + "\n" + note


def _said(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _machines(found: dict[str, Any]) -> str:
    seen = {f"{each['machine']['cores']} cores, {each['machine']['cpu']}" for each in found.values()}
    return "Measured on: " + "; ".join(sorted(seen)) + "\n"


def _sources() -> str:
    cited = [published.DATA, published.APPLIANCES, published.PATCHTST, published.GIFT_EVAL, CITED]
    return "## Sources\n\n" + "\n".join(f"- {text}" for text in cited) + "\n"
