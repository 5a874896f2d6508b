_base_ = "../../_base_/images/tiny_imagenet.py"
title = "TRG: a pretrained EfficientNet-Lite0 teaches a ViT, Tiny-ImageNet; each term on and off"
run = ["teacher", "plain", "kd", "trg", "trg_no_local", "trg_no_global", "trg_no_contextual"]
