# Pictures of your own, one folder a class: --cfg-options data.dataset.root=FOLDER, which holds train/CLASS/... and
# val/CLASS/... (a tenth of the training pictures validates, `val` tests; other names: data.splits.test=...). All are
# brought to 64 x 64 pixels. The networks are those of cifar10.py on patches twice as large.
_base_ = "cifar10.py"
title = "Image classifiers distilled: a ResNet-20 teaches a ViT and a CNN, pictures of your own"
data = dict(
    dataset=dict(root="pictures"),
    splits=dict(test="val"),
    augment=[dict(type="RandomResizedCrop", size=64), dict(type="HorizontalFlip")],
    evaluate=[dict(type="CenterCrop", size=64, resize=72)],
)
stages = dict(plain=dict(model=dict(patch_size=8)))
run = ["teacher", "plain", "kd", "trg", "cnn", "cnn_kd", "cnn_trg"]
