# Minutes instead of hours: 500 images a class, smaller networks, fewer epochs. For two CPU cores.
_base_ = "../../_base_/images/cifar10.py"
title = "Image classifiers distilled, small: a ResNet-8 teaches a ViT and a CNN, 500 images a class of CIFAR-10"
run = [
    "teacher",
    "plain",
    "kd",
    "trg",
    "trg_no_local",
    "trg_no_global",
    "trg_no_contextual",
    "rkd",
    "similarity",
    "dist",
    "srrl",
    "cnn",
    "cnn_kd",
    "cnn_trg",
    "cnn_rkd",
    "cnn_similarity",
]
data = dict(protocol=dict(name="holdout", per_class=500), views=4)
_loader = dict(batch_size=64)
stages = dict(
    teacher=dict(
        title="ResNet-8",
        model=dict(depth="8"),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(lr=0.05)),
        param_scheduler=dict(T_max=30),
        train_cfg=dict(max_epochs=30),
    ),
    attention_transfer=dict(distillers=dict(at=dict(weight=1000 / 16))),
    plain=dict(
        model=dict(depth=4, patch_size=8),
        train_dataloader=_loader,
        param_scheduler=dict(T_max=24),
        train_cfg=dict(max_epochs=24),
    ),
    cnn=dict(
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(lr=0.05)),
        param_scheduler=dict(T_max=24),
        train_cfg=dict(max_epochs=24),
    ),
)
