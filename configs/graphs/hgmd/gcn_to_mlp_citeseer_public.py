_base_ = "../../_base_/graphs/citeseer_public.py"
title = "HGMD on CiteSeer, protocol public"
run = ["teacher", "plain", "hgmd"]
