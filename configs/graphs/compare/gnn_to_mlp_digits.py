_base_ = "../../_base_/graphs/digits.py"
title = "GNN-to-MLP distillation on the digits graph"
