"""A consumer of forecasts: prints the next value of each series, with the interval that should hold it.

    python examples/consume_forecasts.py --bootstrap localhost:9092 --topic meters.forecasts

`isolation.level = read_committed` is what makes it exactly once: the worker writes forecasts in transactions, and those
of a transaction that was aborted never count. Offsets are committed after a batch has been handled, so a crash handles
some again: (series_id, origin, revision) names a forecast for ever, which makes that harmless to whoever keeps them.
"""

import argparse
import json
import sys

from confluent_kafka import Consumer


def main() -> None:
    arguments = parse_arguments()
    consumer = Consumer(
        {
            "bootstrap.servers": arguments.bootstrap,
            "group.id": arguments.group,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([arguments.topic])
    handled = 0
    try:
        while arguments.count is None or handled < arguments.count:
            left = 500 if arguments.count is None else min(500, arguments.count - handled)
            messages = consumer.consume(left, timeout=0.5)
            for message in messages:
                if message.error():
                    raise SystemExit(f"{arguments.topic}: {message.error().str()}")
                handle(message.key(), message.value())
            handled += len(messages)
            if messages:
                consumer.commit(asynchronous=False)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


def handle(key: bytes, value: bytes | None) -> None:
    """One forecast. A null value: the series was deleted."""
    if value is None:
        print(f"{key.decode()} is gone")
        return
    forecast = json.loads(value)
    low, high = forecast["quantiles"][0][0], forecast["quantiles"][-1][0]
    levels = forecast["quantile_levels"]
    note = "" if forecast["status"] == "ok" else f"  ({forecast['model']}: {forecast['reason']})"
    print(
        f"{forecast['series_id']} after {forecast['origin']}: {forecast['point'][0]:g}, "
        f"{levels[-1] - levels[0]:.0%} between {low:g} and {high:g}{note}"
    )
    sys.stdout.flush()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", default="localhost:9092", help="HOST:PORT of a broker")
    parser.add_argument("--topic", required=True, help="the topic of forecasts, e.g. meters.forecasts")
    parser.add_argument("--group", default="forecast-reader", help="the consumer group: who has read how far")
    parser.add_argument("--count", type=int, help="end after so many forecasts; without it never")
    return parser.parse_args()


if __name__ == "__main__":
    main()
