"""Writes frouros_alarms.json: where frouros 0.9.0 alarms on seeded streams, to hold our detectors against.

It needs an environment of its own, since frouros asks for numpy below 2.2 and river for one above it. From the
repository's root: `uv run --no-project --python 3.11 --with frouros==0.9.0 python tests/golden/make_frouros_alarms.py`.
The streams are in the file, so that whoever reads it draws nothing.
"""

import json
from pathlib import Path

import numpy as np
from frouros.detectors.concept_drift import CUSUM, CUSUMConfig
from frouros.detectors.data_drift import PSI
from frouros.utils.stats import Mean

SLACK, WINSOR = 0.5, 4.0
STREAMS, LENGTH, BINS = 12, 500, 5


class KnownMean(Mean):
    """Residuals of a calibrated forecast have a mean of zero; frouros would estimate it."""

    def update(self, value: float) -> None:
        self.num_values += 1
        self.mean = 0.0


def one_sided(threshold: float) -> CUSUM:
    detector = CUSUM(CUSUMConfig(delta=SLACK, lambda_=threshold, min_num_instances=1))
    detector.mean_error_rate = KnownMean()
    return detector


def alarms(values: list[float], threshold: float, rest: int) -> list[int]:
    """Both sides; after an alarm of either they start anew and rest."""
    found, until = [], -1
    up, down = one_sided(threshold), one_sided(threshold)
    for tick, value in enumerate(values):
        if tick <= until:
            continue
        clipped = float(np.clip(value, -WINSOR, WINSOR))
        up.update(value=clipped)
        down.update(value=-clipped)
        if up.drift or down.drift:
            found.append(tick)
            until = tick + rest
            up, down = one_sided(threshold), one_sided(threshold)
    return found


def stream(seed: int) -> list[float]:
    """Heavy-tailed noise, with a shift and a time of doubled size somewhere in it."""
    rng = np.random.default_rng(seed)
    values = rng.standard_t(4, LENGTH)
    at = int(rng.integers(100, LENGTH - 100))
    values[at:] += rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 2.0)
    loud = int(rng.integers(0, LENGTH - 100))
    values[loud : loud + 60] *= 2
    return np.round(values, 4).tolist()


def stability(seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    reference, found = rng.normal(size=2000), rng.normal(rng.uniform(-0.5, 0.5), rng.uniform(0.8, 1.4), size=2000)
    found = np.clip(found, *np.quantile(reference, [0.001, 0.999]))
    detector = PSI(num_bins=BINS)
    detector.fit(X=reference)
    edges = np.histogram_bin_edges(np.concatenate([reference, found]), BINS)
    counts = [np.histogram(values, edges)[0].tolist() for values in (reference, found)]
    return {"reference": counts[0], "found": counts[1], "psi": float(detector.compare(X=found)[0].distance)}


def main() -> None:
    cases = []
    for seed in range(STREAMS):
        values, threshold, rest = stream(seed), [4.0, 6.0, 9.0][seed % 3], [10, 24][seed % 2]
        said = {"values": values, "threshold": threshold, "rest": rest, "alarms": alarms(values, threshold, rest)}
        cases.append(said)
    text = json.dumps({"frouros": "0.9.0", "cusum": cases, "psi": [stability(seed) for seed in range(6)]})
    Path(__file__).with_name("frouros_alarms.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
