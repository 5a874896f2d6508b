_base_ = "tiny_imagenet.py"
title = (
    "Image classifiers distilled: a pretrained EfficientNet-Lite0 teaches a ViT and a CNN, Tiny-ImageNet, long-tailed"
)
data = dict(protocol=dict(name="long_tailed", factor=20))
