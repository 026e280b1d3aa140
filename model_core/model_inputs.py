"""What a model sees of windows, and what turns its answers back into the units of the target."""

from dataclasses import dataclass

from model_core.libraries import Array, Library


@dataclass(frozen=True)
class ModelInputs:
    """What a model sees of B windows. L context, H horizon, C covariates (past, then future), F of them future."""

    library: Library
    target: Array  # float32 [B, L], filled, centred, scaled
    roughness: Array  # float32 [B], about -1 (smooth) to 1 (noise)
    covariates: Array  # float32 [B, L, C], scaled, 0 where missing
    known: Array  # float32 [B, H, F], future covariates of the target ticks, likewise
    calendar: Array  # float32 [U, H, K], calendar of the targets of each of U distinct origins
    calendar_row: Array  # int64 [B], which of them a window has


@dataclass(frozen=True)
class Prepared:
    """Inputs, and what leads back to the units of the target."""

    inputs: ModelInputs
    center: Array  # float64 [B]
    scale: Array  # float64 [B], floored: never 0
    constant: Array  # bool [B], the window did not vary
    suspicious: Array  # bool [B], out of distribution at this origin

    def inverse(self, outputs: Array) -> Array:
        """Model outputs float32 [B, H] → float64 [B, H] in the units of the target."""
        return self.center[:, None] + self.scale[:, None] * self.inputs.library.float64(outputs)
