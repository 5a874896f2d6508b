# The small Tiny-ImageNet comparison on an exponential profile: 90 pictures of the first class, 4 of the last.
_base_ = "tiny_imagenet_small.py"
title = "Image classifiers distilled, small: a pretrained EfficientNet-Lite0 teaches a ViT and a CNN, long-tailed"
data = dict(protocol=dict(_delete_=True, name="long_tailed", factor=20))
run = ["teacher", "plain", "kd", "trg", "rkd", "dist", "cnn", "cnn_kd", "cnn_trg"]
