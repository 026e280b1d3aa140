"""Models by name. To add one: a file beside this one, a line in MODELS, and its fit in training.py."""

from collections.abc import Callable, Mapping

from model_core.arrays import AnyArray
from model_core.errors import CorruptBundle
from model_core.libraries import Array, Library
from model_core.model_inputs import ModelInputs
from model_core.models.ridge import Ridge

# What a model is: inputs of B windows → float32 [B, H], centred and scaled as the inputs are.
Model = Callable[[ModelInputs], Array]

MODELS: dict[str, Callable[[Mapping[str, AnyArray], Library], Model]] = {
    "ridge": Ridge.from_tensors,
}


def build_model(name: str, tensors: Mapping[str, AnyArray], library: Library) -> Model:
    """The named model with its weights on the device; CorruptBundle when it is unknown or lacks a tensor."""
    if name not in MODELS:
        raise CorruptBundle(f"expected one of the models {', '.join(MODELS)}, found {name!r}; a newer version wrote it")
    return MODELS[name](tensors, library)
