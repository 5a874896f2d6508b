# As vit_digits.py without a meta model: the teacher is trained as a whole, split, and is itself what the student's
# modules stand in. Nothing but the teacher has to be trained before the pairs; each pair's step is slower, as the
# frozen suffix is the teacher's.
_base_ = "vit_digits.py"
title = "Module by module inside the teacher: a transformer teaches a narrower one, handwritten digits"

_splits = ["blocks.2", "blocks.4", "blocks.6"]
_inside = dict(meta=dict(stage="teacher"), meta_splits=_splits)
_epochs = dict(
    optim_wrapper=dict(optimizer=dict(lr=0.002)), param_scheduler=dict(T_max=30), train_cfg=dict(max_epochs=30)
)
stages = dict(teacher=dict(init_from=None, **_epochs), m2mkd_stitched=dict(model=_inside))
for _i in range(4):
    stages[f"target_{_i}"] = dict(model=_inside)
    stages[f"pair_{_i}"] = dict(model=_inside)
run = [
    "teacher",
    *(f"{_kind}_{_i}" for _kind in ("target", "pair", "reference") for _i in range(4)),
    *("plain", "longer", "kd", "m2mkd", "m2mkd_reference", "m2mkd_stitched"),
]
