_base_ = "../../_base_/graphs/citeseer_public.py"
title = "KRD on CiteSeer, protocol public"
run = ["teacher", "plain", "krd"]
