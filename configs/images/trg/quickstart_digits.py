# The shortest look at TRG: what `bash tools/quickstart.sh images` runs.
_base_ = "../../_base_/images/digits.py"
title = "A convolutional network teaches a transformer: handwritten digits, one seed"
run = ["teacher", "plain", "kd", "trg"]
seeds = [0]
