"""Models by name. To add one: a file beside this one, a line in MODELS, and its fit in training.py."""

from collections.abc import Callable, Mapping

from model_core.arrays import AnyArray
from model_core.errors import CorruptBundle
from model_core.libraries import Array, Library
from model_core.model_inputs import ModelInputs
from model_core.models.intermittent import Intermittent
from model_core.models.patch_mixer import PatchMixer
from model_core.models.ridge import Ridge
from model_core.spec import StreamSpec

DEMAND, RIDGE, PATCH_MIXER = "demand", "ridge", "patch_mixer"
# What a model is: inputs of B windows → float32 [B, H], centred and scaled as the inputs are.
Model = Callable[[ModelInputs], Array]

MODELS: dict[str, Callable[[Mapping[str, AnyArray], Library], Model]] = {
    RIDGE: Ridge.from_tensors,
    PATCH_MIXER: PatchMixer.from_tensors,
    DEMAND: Ridge.from_tensors,  # of windows that are intermittent another one speaks: build_demand
}


def build_model(name: str, tensors: Mapping[str, AnyArray], library: Library) -> Model:
    """The named model with its weights on the device; CorruptBundle when it is unknown or lacks a tensor."""
    if name not in MODELS:
        raise CorruptBundle(f"expected one of the models {', '.join(MODELS)}, found {name!r}; a newer version wrote it")
    return MODELS[name](tensors, library)


def build_demand(name: str, tensors: Mapping[str, AnyArray], spec: StreamSpec, library: Library) -> Intermittent | None:
    """What answers for intermittent demand beside the named model; None where nothing does."""
    if name != DEMAND or not spec.is_demand:
        return None
    return Intermittent(tensors, spec.quantile_levels, library, whole=spec.aggregate == "count")
