_base_ = "../../_base_/images/cifar10.py"
title = "TRG: a ResNet-20 teaches a ViT, CIFAR-10; each term on and off"
run = ["teacher", "plain", "kd", "trg", "trg_no_local", "trg_no_global", "trg_no_contextual"]
