_base_ = "../../_base_/images/digits.py"
title = "ReviewKD: a CNN teaches a ViT, handwritten digits"
run = ["teacher", "plain", "kd", "review_kd"]
