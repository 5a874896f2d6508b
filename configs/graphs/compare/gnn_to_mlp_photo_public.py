_base_ = "../../_base_/graphs/photo_public.py"
title = "GNN-to-MLP distillation on Amazon-Photo, protocol public"
