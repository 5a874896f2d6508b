_base_ = "../../_base_/graphs/citeseer_public.py"
title = "GNN-to-MLP distillation on CiteSeer, protocol public"
