_base_ = "../../_base_/images/digits.py"
title = "PKT: a CNN teaches a ViT, handwritten digits"
run = ["teacher", "plain", "kd", "pkt"]
