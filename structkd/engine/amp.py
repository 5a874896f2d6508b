"""Mixed precision that also runs on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast, on the device the model is on.

    bfloat16 has float32's range, so no gradient scaler is needed. mmengine's `AmpOptimWrapper` asserts a GPU.
    """

    @contextmanager
    def optim_context(self, model: Any) -> Iterator[None]:  # type: ignore[override]
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type=device, dtype=torch.bfloat16):
            yield
