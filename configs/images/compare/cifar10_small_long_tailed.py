# The small CIFAR-10 comparison on 5,035 images of an exponential profile: 1,800 of the first class, 36 of the last.
_base_ = "cifar10_small.py"
title = "Image classifiers distilled, small: a ResNet-8 teaches a ViT and a CNN, long-tailed CIFAR-10"
data = dict(protocol=dict(_delete_=True, name="long_tailed", factor=50))
