"""A real Apache Kafka and a real Valkey on a machine that has neither, for development, tests and the demo.

Not for production. Knows nothing of forecasting, and reads no settings and no environment: what it needs comes in as
arguments.
"""

from stream_app.local_services.local_services import LocalServices, ServiceStatus

__all__ = ["LocalServices", "ServiceStatus"]
