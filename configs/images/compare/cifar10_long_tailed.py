_base_ = "cifar10.py"
title = "Image classifiers distilled: a ResNet-20 teaches a ViT and a CNN, CIFAR-10, long-tailed"
data = dict(protocol=dict(name="long_tailed", factor=50))
