_base_ = "../../_base_/graphs/digit_graphs.py"
title = "MuGSI: graph classification of digits without edges"
