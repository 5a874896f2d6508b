_base_ = "../../_base_/graphs/cs_public.py"
title = "GNN-to-MLP distillation on Coauthor-CS, protocol public"
