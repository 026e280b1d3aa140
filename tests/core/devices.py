"""Where torch can compute: always on the CPU, on a GPU where there is one."""

import pytest
import torch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
TORCH_DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
