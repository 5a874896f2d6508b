# CIFAR-10, $STRUCTKD_DATA/images/cifar10_jpeg.tar.gz, on eight augmented views of each picture: a ViT-tiny
# of twelve blocks, four modules of three; a student of four modules with two blocks each, whose second ones have eight
# experts. Meant for a GPU.
_base_ = "vit_digits.py"
title = "Module by module: a transformer teaches a mixture of experts, CIFAR-10"
data = dict(
    _delete_=True,
    type="ImageTask",
    dataset=dict(type="folder_images", root="$STRUCTKD_DATA/images/cifar10_jpeg.tar.gz"),
    protocol=dict(name="holdout"),
    augment=[dict(type="RandomCrop", padding=4), dict(type="HorizontalFlip")],
    views=8,
    corruptions=dict(severities=[1, 3, 5]),
    store_outputs=False,  # tokens before a module for eight views of each picture take more room than their pass time
    latency_batches=[1, 128],
)

_teacher = dict(preset="tiny", width=192, depth=12, heads=3, patch_size=4)
_student = dict(type="VMoE", width=96, depth=8, heads=3, patch_size=4, experts=8, k=2, moe_blocks="odd")
_splits = ["blocks.2", "blocks.4", "blocks.6"]  # of the student
_teacher_splits = ["blocks.3", "blocks.6", "blocks.9"]
_meta_splits = ["blocks.1", "blocks.2", "blocks.3"]


def _epochs(count):
    return dict(
        train_dataloader=dict(batch_size=256),
        optim_wrapper=dict(optimizer=dict(lr=0.001)),
        param_scheduler=dict(T_max=count),
        train_cfg=dict(max_epochs=count),
    )


stages = dict(
    meta=dict(model={**_teacher, "depth": 4}, **_epochs(100)),
    teacher=dict(model=_teacher, **_epochs(60)),
    plain=dict(title="V-MoE, end to end, 100 epochs", model=_student, **_epochs(100)),
    longer=dict(title="V-MoE, end to end, 160 epochs", model=_student, **_epochs(160)),
    kd=dict(title="V-MoE, KD"),
    m2mkd=dict(title="V-MoE, m2mKD"),
    m2mkd_reference=dict(title="V-MoE, m2mKD with the reference KL"),
    m2mkd_stitched=dict(
        title="V-MoE, m2mKD, stitches kept",
        model=dict(source=_student, splits=_splits, meta_splits=_meta_splits),
    ),
)
for _i in range(4):
    stages[f"incubate_{_i}"] = dict(model=dict(source=_teacher, splits=_teacher_splits), **_epochs(60))
    stages[f"target_{_i}"] = dict(model=dict(splits=_teacher_splits))
    stages[f"pair_{_i}"] = dict(model=dict(source=_student, splits=_splits, meta_splits=_meta_splits), **_epochs(60))
