"""`tidecast doctor`: a running set-up held against docs/OPERATIONS.md. brokers.py, rights.py, store.py, schemas.py
and models.py look, each at one thing it may ask; findings.py is what they tell. Nothing is changed, and a look that
fails is itself a finding.
"""

from stream_app.doctor.examination import examine
from stream_app.doctor.findings import Finding, Severity

__all__ = ["Finding", "Severity", "examine"]
