_base_ = "../../_base_/graphs/cora_public.py"
title = "HGMD on Cora, protocol public"
run = ["teacher", "plain", "hgmd"]
