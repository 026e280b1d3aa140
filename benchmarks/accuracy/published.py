"""Numbers that others have published, with where they are from. Nothing in here was measured by us."""

from __future__ import annotations

HORIZONS = (96, 192, 336, 720)

PATCHTST = (
    "PatchTST/64: Nie, Nguyen, Sinthong and Kalagnanam, A Time Series is Worth 64 Words: Long-term Forecasting with "
    "Transformers, ICLR 2023, arXiv 2211.14730, table of supervised results"
)
# Data set → errors for each of HORIZONS, long-horizon protocol.
PATCHTST_MSE = {"ETTh1": (0.370, 0.413, 0.422, 0.447), "ETTh2": (0.274, 0.341, 0.329, 0.379)}
PATCHTST_MAE = {"ETTh1": (0.400, 0.429, 0.440, 0.468), "ETTh2": (0.337, 0.382, 0.384, 0.422)}
# Their code drops the last batch of test windows where it is not full (yuqinie98/PatchTST, issues 7 and 129;
# scripts/PatchTST/etth1.sh has the size).
PATCHTST_BATCH = 128

GIFT_EVAL = (
    "GIFT-Eval: Aksu, Woo, Liu, Liu, Liu, Savarese, Xiong and Sahoo, GIFT-Eval: A Benchmark for General Time Series "
    "Forecasting Model Evaluation, 2024, arXiv 2410.10393; the results on its leaderboard for ett1/H/short"
)
# Model → (MASE, CRPS), ett1/H/short.
GIFT_EVAL_ETT1_H_SHORT = {
    "Chronos-2": (0.787, 0.171),
    "TiRex": (0.817, 0.176),
    "Chronos-Bolt": (0.828, 0.181),
    "PatchTST": (0.893, 0.190),
}

APPLIANCES = (
    "UCI 374, Appliances Energy Prediction: Candanedo, 2017, doi 10.24432/C5VC8G; CC BY 4.0, read in "
    "place (26 channels, without the two random ones)"
)

DATA = (
    "ETTh1 and ETTh2: Zhou, Zhang, Peng, Zhang, Li, Xiong and Zhang, Informer: Beyond Efficient Transformer for Long "
    "Sequence Time-Series Forecasting, AAAI 2021; CC BY-ND 4.0, read in place"
)
