_base_ = "../../_base_/images/cifar10.py"
title = "Image classifiers distilled: a ResNet-20 teaches a ViT and a CNN, CIFAR-10"
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
