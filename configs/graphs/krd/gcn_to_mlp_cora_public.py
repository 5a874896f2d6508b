_base_ = "../../_base_/graphs/cora_public.py"
title = "KRD on Cora, protocol public"
run = ["teacher", "plain", "krd"]
