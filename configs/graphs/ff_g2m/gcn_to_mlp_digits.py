_base_ = "../../_base_/graphs/digits.py"
title = "FF-G2M on the digits graph"
run = ["teacher", "plain", "ffg2m"]
