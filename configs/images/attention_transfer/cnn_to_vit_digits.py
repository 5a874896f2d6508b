_base_ = "../../_base_/images/digits.py"
title = "AT: a CNN teaches a ViT, handwritten digits"
run = ["teacher", "plain", "kd", "attention_transfer"]
