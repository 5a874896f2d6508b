# As vmoe_cifar10_small.py with a teacher of another kind, and a better one: a ResNet-14, whose four modules (stem and
# first stage, second stage, the two blocks of the third) are maps where the student's are tokens. Stitches turn one
# into the other: each of the student's 4 x 4 tokens stands for the 8 x 8 cells under it, later for 4 x 4 and 2 x 2.
_base_ = "vmoe_cifar10_small.py"
title = "Module by module, small: a convolutional network teaches a mixture of experts, 500 images a class of CIFAR-10"

_splits = ["layer2", "layer3.0", "layer3.1"]  # of the teacher
_inside = dict(meta_splits=_splits)
_student = dict(pool="mean")  # a class token would lie on no cell
stages = dict(
    teacher=dict(
        model=dict(_delete_=True, type="ResNet", depth="14"),
        optim_wrapper=dict(
            optimizer=dict(_delete_=True, type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
        ),
        param_scheduler=dict(T_max=30),
        train_cfg=dict(max_epochs=30),
    ),
    plain=dict(model=_student),
    longer=dict(model=_student),
    m2mkd_stitched=dict(model=dict(source=_student, **_inside)),
)
for _i in range(4):
    stages[f"target_{_i}"] = dict(model=dict(splits=_splits, **_inside))
    stages[f"pair_{_i}"] = dict(model=dict(source=_student, **_inside))
