_base_ = "../../_base_/images/tiny_imagenet.py"
title = "Image classifiers distilled: a pretrained EfficientNet-Lite0 teaches a ViT and a CNN, Tiny-ImageNet"
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
    "crd",
    "dist",
    "srrl",
    "cnn",
    "cnn_kd",
    "cnn_trg",
    "cnn_rkd",
    "cnn_similarity",
]
