_base_ = "../../_base_/images/digits.py"
title = "VID: a CNN teaches a ViT, handwritten digits"
run = ["teacher", "plain", "kd", "vid"]
