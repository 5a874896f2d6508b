# Mixed precision (what --amp switches on, here stage by stage) beside float32: the same accuracy within the spread.
_base_ = "sage_to_mlp_cora_cpf.py"
title = "GLNN on Cora in float32 and under bfloat16 autocast"

_bf16 = dict(type="BFloat16OptimWrapper")
stages = dict(
    teacher_bf16=dict(like="teacher", title="SAGE, bfloat16", role="teacher", optim_wrapper=_bf16),
    plain_bf16=dict(like="plain", title="MLP, bfloat16", role="plain", optim_wrapper=_bf16),
    glnn_bf16=dict(
        like="glnn",
        title="MLP, GLNN, bfloat16",
        method="GLNN",
        role="distilled",
        optim_wrapper=_bf16,
        teachers=dict(teacher=dict(stage="teacher_bf16")),
    ),
)
run = ["teacher", "teacher_bf16", "plain", "plain_bf16", "glnn", "glnn_bf16"]
