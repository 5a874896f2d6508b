# Mixed precision (what --amp switches on, here for one stage) beside float32: the same AP within the spread.
_base_ = "../../_base_/points/simulated.py"
title = "A detector in float32 and under bfloat16 autocast, on simulated streets"
stages = dict(
    plain_bf16=dict(
        like="plain", title="PointPillars 16x, bfloat16", role="plain", optim_wrapper=dict(type="BFloat16OptimWrapper")
    ),
)
run = ["plain", "plain_bf16"]
