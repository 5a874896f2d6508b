_base_ = "../../_base_/images/digits.py"
title = "TRG: a CNN teaches a ViT, handwritten digits; each term on and off"
run = [
    "teacher",
    "plain",
    "kd",
    "trg",
    "trg_no_local",
    "trg_no_global",
    "trg_no_contextual",
    "trg_local",
    "trg_global",
    "trg_contextual",
    "trg_literal",
]
