_base_ = "../../_base_/graphs/digits.py"
title = "GLNN on the digits graph"
run = ["teacher", "plain", "glnn"]
