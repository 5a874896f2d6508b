# Minutes instead of hours: 25 pictures a class, two views of each, smaller networks, fewer epochs. For two CPU cores.
_base_ = "../../_base_/images/tiny_imagenet.py"
title = "Image classifiers distilled, small: a pretrained EfficientNet-Lite0 teaches a ViT and a CNN, Tiny-ImageNet"
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
    "cnn",
    "cnn_kd",
    "cnn_trg",
    "cnn_rkd",
    "cnn_similarity",
]
data = dict(protocol=dict(name="holdout", per_class=25), views=2)
_loader = dict(batch_size=64)
stages = dict(
    attention_transfer=dict(distillers=dict(at=dict(weight=1000 / 16))),
    plain=dict(
        model=dict(depth=4, patch_size=16),
        train_dataloader=_loader,
        param_scheduler=dict(T_max=20),
        train_cfg=dict(max_epochs=20),
    ),
    cnn=dict(
        model=dict(channels=[8, 16, 32, 64]),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(lr=0.05)),
        param_scheduler=dict(T_max=20),
        train_cfg=dict(max_epochs=20),
    ),
)
