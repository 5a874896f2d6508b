_base_ = "../../_base_/images/digits.py"
title = "A convolutional network teaches a transformer: handwritten digits"
