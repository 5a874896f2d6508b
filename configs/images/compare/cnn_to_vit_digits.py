_base_ = "../../_base_/images/digits.py"
title = "A convolutional network teaches a transformer: handwritten digits"
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
    "rkd",
    "similarity",
    "pkt",
    "fitnet",
    "dkd",
]
