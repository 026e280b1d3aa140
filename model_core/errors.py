"""The few errors of the core. Each class says what happens next."""


class CoreError(Exception):
    """Anything the core refuses."""


class LayoutMismatch(CoreError):
    """A snapshot was written under another layout or configuration: it is refused, never misread."""


class CorruptBundle(CoreError):
    """A model's files do not match their manifest: the model in charge goes on serving."""


class MissingBundle(CorruptBundle):
    """A model has no files at all: they are looked for again and again, they may come back."""


class ModelFailed(CoreError):
    """A model raised or answered with the wrong shape: the next rung of the ladder answers."""


class NoDevice(CoreError):
    """A device was asked for by name that is not there: nothing else is taken in its place."""


class DeviceFailed(CoreError):
    """A GPU has no room at all or answers nothing more, the model has said nothing yet: the CPU answers."""


class NotEnoughHistory(CoreError):
    """There is too little to learn from: the model in charge stays."""
