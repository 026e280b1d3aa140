"""Failures that a user can cause and mend. The text is what they read: expected, found, where, remedy."""


class TidecastError(Exception):
    """Ends the command with one sentence and exit code 2; `--debug` shows where it came from."""


class KafkaAway(TidecastError):
    """Kafka does not answer, or not yet; asking again later may help."""
