_base_ = "../../_base_/graphs/cora_public.py"
title = "GNN-to-MLP distillation on Cora, protocol public"
