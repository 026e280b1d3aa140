"""`tidecast doctor`: compares a running set-up with docs/OPERATIONS.md. Nothing is changed.

brokers.py, rights.py, store.py, schemas.py and models.py each examine one part; findings.py is what they report. An
examination that fails is itself a finding.
"""

from stream_app.doctor.examination import examine
from stream_app.doctor.findings import Finding, Severity

__all__ = ["Finding", "Severity", "examine"]
